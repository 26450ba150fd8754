/** Blocked and ignored signals, which a process inherits over an exec. */
import { fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const SIG_BLOCK = 0;
const SIG_UNBLOCK = 1;
const SIGSET_BYTES = 128;
const SIGUSR1 = 10;
const SIGCHLD = 17;
const SIG_DFL = 0n;
const SIG_IGN = 1n;
/** `struct sigaction` is shorter; the handler comes first in it. */
const SIGACTION_BYTES = 256;

/** The signals that control a service: HUP, INT, USR1, USR2 and TERM. */
const CONTROL_SIGNALS = [1, 2, 10, 12, 15];

const libc = loadLibc({
  sigprocmask: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  sigaction: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "usize"], result: "usize" },
});

/**
 * Resets inherited signal settings. Blocked signals would never arrive, neither here nor in children, and
 * with SIGCHLD ignored the kernel keeps no status of a child. To be called on the main thread, when signals
 * are handled and before anything is started.
 */
export function resetSignals(): void {
  if (Deno.build.os !== "linux") return;
  changeMask(SIG_UNBLOCK, new Uint8Array(SIGSET_BYTES).fill(0xff));
  const action = new Uint8Array(SIGACTION_BYTES);
  if (libc.symbols.sigaction(SIGCHLD, null, action) !== 0) fail("see whether SIGCHLD is ignored");
  const handler = new DataView(action.buffer).getBigUint64(0, true);
  if (handler === SIG_IGN) libc.symbols.signal(SIGCHLD, SIG_DFL);
}

/**
 * Ignores USR1, on which Deno opens its inspector: through it, anyone on this machine could run code with
 * this process's rights. Deno sets its own handler half a second after the start, but once in the life
 * of a process: a listener must have made it set that one before.
 */
export function ignoreInspectorSignal(): void {
  if (Deno.build.os === "linux") libc.symbols.signal(SIGUSR1, SIG_IGN);
}

/** Blocks the signals that control a service, until {@link resetSignals}. */
export function blockSignals(): void {
  changeMask(SIG_BLOCK, signalSet());
}

/** Ends {@link blockSignals}. */
export function unblockSignals(): void {
  changeMask(SIG_UNBLOCK, signalSet());
}

function signalSet(): Uint8Array<ArrayBuffer> {
  const set = new Uint8Array(SIGSET_BYTES);
  for (const signal of CONTROL_SIGNALS) set[(signal - 1) >> 3]! |= 1 << ((signal - 1) & 7);
  return set;
}

/** Of the calling thread. In glibc before 2.32 pthread_sigmask(3) is in another library. */
function changeMask(how: number, set: Uint8Array<ArrayBuffer>): void {
  if (libc.symbols.sigprocmask(how, set, null) !== 0) fail("change which signals are blocked");
}
