/**
 * Waits for everything that comes by descriptors from processes and from the kernel: one wait for all
 * of them, since each holds one of the threads that the runtime has for blocking calls, and file
 * operations wait for these too.
 */
import { closeDescriptor } from "../os/descriptor.ts";
import { waitForAny, WakeUp } from "../os/poll.ts";
import { RateLimit } from "../protocol/rate.ts";
import { bestEffort } from "./best_effort.ts";

/** How long one wait lasts at the most; a process that is ended otherwise is kept by it so long. */
const WAIT_MS = 500;

/** What one read costs besides its bytes: it takes a system call or two and a turn of the event loop. */
const READ_COST = 16 * 1024;

/** How much is read of one process, in bytes, at once and in the long run, where it may not be more. */
const READ_BURST = 4 * 1024 * 1024;
const READ_PER_SECOND = 4 * 1024 * 1024;

/** @param limits how much is to be taken of what is read, if that is much */
export function readRate(limits = { burstBytes: 0, bytesPerSecond: 0 }): RateLimit {
  return new RateLimit(
    Math.max(READ_BURST, 2 * limits.burstBytes),
    Math.max(READ_PER_SECOND, 2 * limits.bytesPerSecond),
  );
}

/** A shorter rest is put off. */
const MIN_REST_MS = 5;

interface Watched {
  /**
   * Called when there is something to read, or when there will be nothing any more.
   *
   * @returns how many bytes were read, where they count
   */
  readonly receive: (ended: boolean) => number | void;
  readonly rate: RateLimit | undefined;
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
 * @param rate how much is read at the most; what is behind that waits where it is
 * @returns ends it, and closes the descriptor
 */
export function watch(
  fd: number,
  receive: Watched["receive"],
  rate?: RateLimit,
): () => void {
  const own = { receive, rate, restsUntilMs: 0, owedMs: 0, lastMs: 0 };
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
      let bytes: number | void = 0;
      bestEffort("read from a process", () => bytes = each.receive(ended));
      const endMs = performance.now();
      // Those that are ready together have half of this thread's time at the most. What is short is put
      // together: a wait is a millisecond at the least. One that sends little at a time has less of it,
      // since the wait for it takes time too.
      const idleMs = startMs - each.lastMs;
      each.owedMs = Math.max(0, each.owedMs - idleMs) + ready.length * (endMs - startMs);
      each.lastMs = endMs;
      const rest = each.rate?.spend(READ_COST + (bytes || 0)) ?? 0;
      each.restsUntilMs = endMs + Math.max(rest, each.owedMs < MIN_REST_MS ? 0 : each.owedMs);
    }
    wakeUp.take();
    unwanted.splice(0).forEach(closeDescriptor);
  }
  waiting = false;
}
