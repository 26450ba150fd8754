/** Whether the connections that wait on the listeners are accepted: judged from outside. Pure. */

/** A worker that may accept them, by what it told last. */
export interface Acceptor {
  readonly id: number;
  /** How often it has told its figures. */
  readonly pulses: number;
  /** Connections that it has accepted, and has open. */
  readonly accepted: number;
  readonly connections: number;
}

/** After how many pulses of every worker it is said that none accepts. */
const SAID_AFTER_PULSES = 3;

/** What a worker has open besides its clients' connections. */
const OWN_DESCRIPTORS = 48;

/** What there is to tell when it begins, and when it is over. */
export interface AcceptChange {
  readonly stalled: boolean;
  /** Connections that all workers have open. */
  readonly connections: number;
  readonly descriptorLimit: number;
  /** Whether clients hold every descriptor that a worker may have. */
  readonly full: boolean;
}

/**
 * Watches the workers of a generation. A worker that is busy in one piece sends no pulse, and is
 * another watchdog's; one whose event loop turns accepts at least one connection at each turn.
 */
export class AcceptHealth {
  readonly #any = new IdlePulses();
  readonly #unfilled = new IdlePulses();
  #stalled = false;

  /** Whether none was accepted for long; it is over only when none waits any more. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** The same in pulses of each worker, while none is full: another one would be as full soon. */
  get idlePulses(): number {
    return this.#unfilled.count;
  }

  /**
   * To be called every second.
   *
   * @param waiting how many connections wait on all listeners
   * @param limits asked for what each worker may have open, where that is needed
   * @returns what has changed, if something has
   */
  look(
    waiting: number,
    workers: readonly Acceptor[],
    limits: () => readonly number[],
  ): AcceptChange | undefined {
    // Where none waits, nobody needs to know.
    const descriptorLimit = waiting === 0 ? Infinity : Math.min(...limits());
    const full = workers.some(({ connections }) =>
      connections + OWN_DESCRIPTORS >= descriptorLimit
    );
    this.#any.look(waiting, workers);
    this.#unfilled.look(full ? 0 : waiting, workers);
    const stalled = waiting > 0 && (this.#stalled || this.#any.count >= SAID_AFTER_PULSES);
    if (stalled === this.#stalled) return undefined;
    this.#stalled = stalled;
    const connections = workers.reduce((sum, each) => sum + each.connections, 0);
    return { stalled, connections, descriptorLimit, full };
  }
}

/** How many pulses of each worker came since the last connection was accepted, while some waited. */
class IdlePulses {
  #since: readonly Acceptor[] = [];
  count = 0;

  look(waiting: number, workers: readonly Acceptor[]): void {
    const before = new Map(this.#since.map((each) => [each.id, each]));
    const same = workers.length === before.size &&
      workers.every(({ id, accepted }) => before.get(id)?.accepted === accepted);
    if (waiting === 0 || workers.length === 0 || !same) {
      this.#since = waiting === 0 ? [] : workers;
      this.count = 0;
    } else {this.count = Math.min(...workers.map(({ id, pulses }) =>
        pulses - before.get(id)!.pulses
      ));}
  }
}
