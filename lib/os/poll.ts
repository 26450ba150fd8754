/** Waits for descriptors (poll(2)). */
import { readSome } from "./pipe.ts";
import { loadLibc } from "./libc.ts";
import { sendBytes, socketPair } from "./socket.ts";

const POLLFD_BYTES = 8;
const POLLIN = 1;
const POLLHUP = 16;
const POLLNVAL = 32;

const libc = loadLibc({
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
});

/** A descriptor at which something may be read, or of which nobody is left who could write. */
export interface Ready {
  readonly fd: number;
  readonly ended: boolean;
}

/**
 * Waits until there is something to read at one of several descriptors, at most `timeoutMs`. It holds
 * one of the runtime's threads for blocking calls meanwhile.
 *
 * @returns those at which there is; none if the time is over
 */
export async function waitForAny(fds: readonly number[], timeoutMs: number): Promise<Ready[]> {
  const view = new DataView(new ArrayBuffer(POLLFD_BYTES * fds.length));
  for (const [index, fd] of fds.entries()) {
    view.setInt32(POLLFD_BYTES * index, fd, true);
    view.setInt16(POLLFD_BYTES * index + 4, POLLIN, true);
  }
  await libc.symbols.poll(new Uint8Array(view.buffer), BigInt(fds.length), timeoutMs);
  return fds.flatMap((fd, index) => {
    const events = view.getInt16(POLLFD_BYTES * index + 6, true);
    if ((events & POLLIN) !== 0) return { fd, ended: false };
    // POLLERR alone comes from a seccomp listener when a signal disturbs the look at it.
    return (events & (POLLHUP | POLLNVAL)) !== 0 ? { fd, ended: true } : [];
  });
}

/** Something by which who waits for descriptors is woken. */
export class WakeUp {
  readonly fd: number;
  readonly #other: number;
  readonly #taken = new Uint8Array(1);
  #given = false;

  /** @throws {Error} if there are too many descriptors */
  constructor() {
    [this.fd, this.#other] = socketPair();
  }

  /** Makes it readable. */
  give(): void {
    if (this.#given) return;
    this.#given = true;
    sendBytes(this.#other, this.#taken);
  }

  /** Makes it unreadable again. */
  take(): void {
    if (!this.#given) return;
    this.#given = false;
    readSome(this.fd, this.#taken);
  }
}
