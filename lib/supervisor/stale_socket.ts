/** What is in the way of a listener: a socket file that was left over, or somebody else. */
import { HoldfastError } from "../base/error.ts";
import type { ListenAddress } from "../config/config.ts";

/** An address cannot be listened on. */
export function bindError(address: ListenAddress, found: string, hint: string, cause?: unknown) {
  return new HoldfastError(`Cannot listen on ${address.text}: ${found}`, {
    kind: "environment",
    code: "bind_failed",
    hint,
    cause,
  });
}

/** Removes a socket file that nobody listens on; anything else in its place is an error. */
export async function removeStaleSocket(
  address: Extract<ListenAddress, { kind: "unix" }>,
): Promise<void> {
  let found: Deno.FileInfo;
  try {
    found = await Deno.lstat(address.path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  if (!found.isSocket) {
    throw bindError(address, "a file that is no socket is there", "Move it, or listen elsewhere");
  }
  try {
    const connection = await Deno.connect({ transport: "unix", path: address.path });
    connection.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    await Deno.remove(address.path);
    return;
  }
  throw bindError(address, "another process listens there", "Stop it, or listen elsewhere");
}
