/** Whether the connections that wait on the listeners are accepted: judged from outside. Pure. */

/** A worker that may accept them, by what it told last. */
export interface Acceptor {
  readonly id: number;
  /** How often it has told its figures. */
  readonly pulses: number;
  /** Connections that it has accepted. */
  readonly accepted: number;
}

/** After how many pulses of every worker it is said that none accepts. */
const SAID_AFTER_PULSES = 3;

/**
 * For how many pulses of each worker connections have waited and none was accepted. A worker that is
 * busy in one piece sends no pulse, and is another watchdog's; one whose event loop turns accepts at
 * least one connection at each turn.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const acceptance = new Acceptance();
 * for (const pulses of [7, 8, 9, 10]) acceptance.look(5, [{ id: 1, pulses, accepted: 64 }]);
 * assertEquals([acceptance.idlePulses, acceptance.stalled], [3, true]);
 * acceptance.look(4, [{ id: 1, pulses: 11, accepted: 65 }]);
 * assertEquals([acceptance.idlePulses, acceptance.stalled], [0, true]);
 * acceptance.look(0, [{ id: 1, pulses: 12, accepted: 69 }]);
 * assertEquals(acceptance.stalled, false);
 * ```
 */
export class Acceptance {
  #since: readonly Acceptor[] = [];
  #idlePulses = 0;
  #stalled = false;

  /** How many pulses of each worker came since the last connection was accepted, while some waited. */
  get idlePulses(): number {
    return this.#idlePulses;
  }

  /** Whether none was accepted for long; it is over only when none waits any more. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /**
   * To be called every second.
   *
   * @param waiting how many connections wait on all listeners
   * @param workers those that may accept them
   */
  look(waiting: number, workers: readonly Acceptor[]): void {
    const before = new Map(this.#since.map((each) => [each.id, each]));
    const same = workers.length === before.size && workers.every(({ id, accepted }) => {
      return before.get(id)?.accepted === accepted;
    });
    if (waiting === 0 || workers.length === 0 || !same) {
      this.#since = waiting === 0 ? [] : workers;
      this.#idlePulses = 0;
    } else {
      const each = workers.map(({ id, pulses }) => pulses - before.get(id)!.pulses);
      this.#idlePulses = Math.min(...each);
    }
    if (waiting === 0) this.#stalled = false;
    else if (this.#idlePulses >= SAID_AFTER_PULSES) this.#stalled = true;
  }
}
