/** The rehearsal of an upgrade: the new program, run beside the old one; see rehearsing.ts. */
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import { closeAllOnExec } from "../os/descriptor.ts";
import { workingFolder } from "../config/spelled_path.ts";
import type { System } from "./system.ts";

/** What is added to the arguments of the new program. */
export const REHEARSE = "--rehearse";

/** How long it may take. */
const DEADLINE_MS = 120_000;

/** How long one that is given up may take to end what it has started. */
const END_MS = 5_000;

/** How much of what it says is told. */
const MAX_REASON = 1_000;

/** What is said of a config that names another runtime folder. */
export function movedRuntime(found: string): HoldfastError {
  return new HoldfastError(found, {
    kind: "config",
    code: "restart_needed",
    hint: "Restart Holdfast to move it, or leave runtime in the config as it was",
  });
}

/**
 * Has the program that lies there now rehearse.
 *
 * @param used the runtime folder that is in use
 * @throws {HoldfastError} if it does not come up
 * @throws the signal's reason when it aborts
 */
export async function rehearse(
  { program, args }: ReturnType<System["ownProgram"]>,
  used: string,
  signal: AbortSignal,
): Promise<void> {
  closeAllOnExec();
  const child = new Deno.Command(program, {
    args: [...args, `${REHEARSE}=${used}`],
    cwd: workingFolder(),
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    // What a terminal sends is for the supervisor.
    detached: true,
  }).spawn();
  let killing: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    child.kill("SIGTERM");
    killing ??= setTimeout(() => child.kill("SIGKILL"), END_MS);
  };
  const deadline = setTimeout(end, DEADLINE_MS);
  signal.addEventListener("abort", end, { once: true });
  const { success, code, stderr } = await child.output();
  clearTimeout(deadline);
  clearTimeout(killing);
  signal.removeEventListener("abort", end);
  signal.throwIfAborted();
  if (success) return;
  const words = new TextDecoder().decode(stderr).split("\n")
    .filter((line) => !line.startsWith("{") && line.trim() !== "").join("; ").slice(-MAX_REASON);
  throw new HoldfastError(
    `The new version did not come up in a rehearsal (status ${code}): ` +
      escapeUntrusted(words || `nothing said within ${DEADLINE_MS} ms`, MAX_REASON),
    { kind: "app", code: "rehearsal_failed" },
  );
}
