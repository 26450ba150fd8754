/** Accepting that pauses while a worker has as many connections as it may. */
import { BACKLOG } from "../base/keep_accepting.ts";
import type { Limits } from "./limits.ts";
import type { Traffic } from "./traffic.ts";

/** What connections come by; while one is not taken from it, it asks the kernel for no more. */
interface Accepting {
  listen(backlog: number): number;
}

export class Gate {
  readonly #limits: Limits;
  readonly #traffic: Traffic;
  readonly #handle: Accepting;
  readonly #take: () => boolean;
  #paused = false;

  /** @param take takes one connection that has come; `false` if there is none */
  constructor(limits: Limits, traffic: Traffic, handle: Accepting, take: () => boolean) {
    this.#limits = limits;
    this.#traffic = traffic;
    this.#handle = handle;
    this.#take = take;
    traffic.onRoom.add(this.#resume);
  }

  /** To be called when a connection has come. */
  readonly come = (): void => {
    if (!this.#limits.full) return void this.#take();
    if (!this.#paused) this.#limits.count("maxConnections");
    this.#paused = true;
  };

  /** Lets nobody in any more but who is inside the runtime already: no other worker gets those. */
  close(): void {
    this.#traffic.onRoom.delete(this.#resume);
    if (this.#paused) { while (this.#take()); }
  }

  readonly #resume = (): void => {
    if (!this.#paused) return;
    while (!this.#limits.full) {
      if (this.#take()) continue;
      this.#paused = false;
      this.#handle.listen(BACKLOG);
      return;
    }
  };
}
