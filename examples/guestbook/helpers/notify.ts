/**
 * Tells one address of each new entry. Only this process knows the address and may dial it, so that
 * an attacker who takes over the worker cannot send anything anywhere.
 */
import { defineHelper } from "holdfast/helper";
import { notifyContract, type TellOutcome, type Told } from "./notify_contract.ts";

const URL_VARIABLE = "GUESTBOOK_WEBHOOK";
const TIMEOUT_MS = 3000;

export default defineHelper({
  entry: {
    ...notifyContract.entry,
    // Nobody wants to hear of an entry twice, so a call that may have arrived is not made again.
    retry: "never",
    handle: (told, { signal }) => post(told, signal),
  },
});

async function post(told: Told, signal: AbortSignal): Promise<TellOutcome> {
  const url = Deno.env.get(URL_VARIABLE);
  if (!url) return { outcome: "off" };
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(told),
    // The config names one host. An answer of its must not choose another.
    redirect: "manual",
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  }).catch((error) => {
    // Only the message reaches the app, and of a fetch that says "failed" and no more.
    const why = error.cause?.message ?? error.message;
    throw new Error(`Cannot reach the address in ${URL_VARIABLE}: ${why}`);
  });
  // The status says all; a body could go on for ever.
  await response.body?.cancel();
  return { outcome: response.ok ? "sent" : "refused", status: response.status };
}
