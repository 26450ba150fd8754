/** Takes what the supervisor hands over (SCM_RIGHTS), by the socket that the runtime has for its IPC. */
import process from "node:process";
import { HandOver } from "../protocol/hand_over.ts";

/** Something handed over: what it is, and a handle of `node:net`. */
export interface Handed {
  readonly message: HandOver;
  readonly handle: unknown;
}

/** Everything that comes, from the beginning on. */
export class HandOvers {
  #arrived: Handed[] = [];
  #receive: ((handed: Handed) => void) | undefined;
  #closed = false;

  constructor() {
    process.on("message", (value, handle) => {
      const handed = { message: HandOver.parse(value), handle };
      if (this.#receive) this.#receive(handed);
      else this.#arrived.push(handed);
    });
    process.on("disconnect", () => this.#closed = true);
  }

  /**
   * Waits for `count` listeners.
   *
   * @returns their handles, in the order in which they were sent
   * @throws {Error} if the socket ends before, or something else comes
   */
  takeListeners(count: number): Promise<unknown[]> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown[]>();
    const handles: unknown[] = [];
    const early = () => reject(new Error("The IPC ended before all listeners had come"));
    if (count === 0) return Promise.resolve(handles);
    if (this.#closed) early();
    process.once("disconnect", early);
    this.subscribe(({ message, handle }) => {
      if (message.type !== "listener") return reject(new Error(`Was handed a ${message.type}`));
      handles.push(handle);
      if (handles.length < count) return;
      process.removeListener("disconnect", early);
      this.#receive = undefined;
      resolve(handles);
    });
    return promise;
  }

  /** Calls `receive` with everything that has come and is to come. */
  subscribe(receive: (handed: Handed) => void): void {
    this.#receive = receive;
    // It may have had enough in the middle of what is there.
    while (this.#receive === receive && this.#arrived.length > 0) receive(this.#arrived.shift()!);
  }
}
