/**
 * Waits for everything that comes by descriptors from processes and from the kernel: one wait for all
 * of them, since each holds one of the threads that the runtime has for blocking calls, and file
 * operations wait for these too.
 */
import { closeDescriptor } from "../os/descriptor.ts";
import { waitForAny, WakeUp } from "../os/poll.ts";
import { bestEffort } from "./best_effort.ts";

/** How long one wait lasts at the most; a process that is ended otherwise is kept by it so long. */
const WAIT_MS = 500;

/** A shorter rest is put off. */
const MIN_REST_MS = 5;

interface Watched {
  /** Called when there is something to read, or when there will be nothing any more. */
  readonly receive: (ended: boolean) => void;
  restsUntilMs: number;
  /** How long it is to rest in all, as of `lastMs`. */
  owedMs: number;
  lastMs: number;
}

const watched = new Map<number, Watched>();
const unwanted: number[] = [];
let wakeUp: WakeUp | undefined;
let waiting = false;

/**
 * Calls `receive` for as long as there is something to read at a descriptor, which is to be read then,
 * or nobody is left who could write. Whoever sends without end is made to wait.
 *
 * @returns ends it, and closes the descriptor
 */
export function watch(fd: number, receive: Watched["receive"]): () => void {
  const own = { receive, restsUntilMs: 0, owedMs: 0, lastMs: 0 };
  watched.set(fd, own);
  const waker = wakeUp ??= new WakeUp();
  waker.give();
  if (!waiting) void wait(waker);
  return () => {
    // By now the number may be another's.
    if (watched.get(fd) !== own) return;
    watched.delete(fd);
    // Not closed here: it may be waited for.
    unwanted.push(fd);
    waker.give();
  };
}

async function wait(wakeUp: WakeUp): Promise<void> {
  waiting = true;
  while (watched.size > 0) {
    const nowMs = performance.now();
    const fds = [wakeUp.fd];
    let timeoutMs = WAIT_MS;
    for (const [fd, { restsUntilMs }] of watched) {
      if (restsUntilMs <= nowMs) fds.push(fd);
      else timeoutMs = Math.min(timeoutMs, Math.ceil(restsUntilMs - nowMs));
    }
    const ready = await waitForAny(fds, timeoutMs);
    for (const { fd, ended } of ready) {
      // One may be unwatched since, by what was made of another before it.
      const each = watched.get(fd);
      if (each === undefined) continue;
      const startMs = performance.now();
      // What goes wrong for one process is not to leave the others without an answer.
      bestEffort("read from a process", () => each.receive(ended));
      const endMs = performance.now();
      // Those that are ready together have half of this thread's time at the most. What is short is put
      // together: a wait is a millisecond at the least.
      const idleMs = startMs - each.lastMs;
      each.owedMs = Math.max(0, each.owedMs - idleMs) + ready.length * (endMs - startMs);
      each.lastMs = endMs;
      each.restsUntilMs = each.owedMs < MIN_REST_MS ? 0 : endMs + each.owedMs;
    }
    wakeUp.take();
    unwanted.splice(0).forEach(closeDescriptor);
  }
  waiting = false;
}
