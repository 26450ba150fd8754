/** The app's side of helpers: finds a running instance for each call, and enforces timeouts. */
import type { Handed } from "../child/hand_over.ts";
import {
  type CallOptions,
  type Client,
  type ClientMaker,
  CLIENTS,
  type Contract,
  HelperError,
  type Methods,
} from "../helper/mod.ts";
import { NotSerializable, serialize } from "../protocol/call.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { HelperLane } from "./helper_lane.ts";

/** How many calls of one helper may wait or be in flight; more would only wait longer. */
const MAX_CALLS = 256;

type HelperFacts = Extract<RoleConfig, { role: "worker" }>["helpers"][number];

/** Every helper of the config. */
export class Helpers {
  readonly #pools: ReadonlyMap<string, HelperPool>;

  constructor(helpers: readonly HelperFacts[]) {
    this.#pools = new Map(helpers.map((facts) => [facts.name, new HelperPool(facts)]));
  }

  /** Takes a new lane. */
  take({ message, handle }: Handed): void {
    if (message.type !== "helper_lane") throw new Error(`Was handed a ${message.type}`);
    const pool = this.#pools.get(message.helper);
    if (!pool) throw new Error(`Was handed a lane to ${message.helper}, which the config lacks`);
    pool.add(handle);
  }

  /** Makes the helpers available to the module that an app imports. */
  install(): void {
    const make: ClientMaker = (name, contract) => this.client(name, contract);
    Object.defineProperty(globalThis, CLIENTS, { value: make });
  }

  /**
   * The client of a helper.
   *
   * @throws {HelperError} if the config has none of that name
   */
  client(name: string, contract: Contract<Methods> = {}): Client<Methods> {
    const pool = this.#pools.get(name);
    if (pool) return clientOf(pool, contract);
    throw new HelperError(
      "helper_unknown",
      name,
      `The config has no helper ${name}: add "helpers": { ${
        JSON.stringify(name)
      }: { "module": FILE } }`,
    );
  }
}

function clientOf(pool: HelperPool, contract: Contract<Methods>): Client<Methods> {
  return new Proxy({} as Client<Methods>, {
    // A client that is awaited, or printed, is asked for names that no method has.
    get: (_, name) =>
      typeof name === "symbol" || name === "then" || name === "toJSON"
        ? undefined
        : (input: unknown, options?: CallOptions) => pool.call(name, input, options, contract),
  });
}

class HelperPool {
  readonly name: string;
  readonly #timeoutMs: number;
  readonly #lanes = new Set<HelperLane>();
  /** Calls that wait for an instance, in order. */
  readonly #waiting = new Set<() => void>();
  #calls = 0;

  constructor({ name, timeoutMs }: HelperFacts) {
    this.name = name;
    this.#timeoutMs = timeoutMs;
  }

  add(handle: unknown): void {
    const lane: HelperLane = new HelperLane(this.name, handle, {
      opened: () => {
        this.#lanes.add(lane);
        for (const wake of this.#waiting) wake();
      },
      freed: () => this.#wakeNext(),
      closed: () => this.#lanes.delete(lane),
    });
  }

  async call(
    method: string,
    input: unknown,
    { signal: given, timeoutMs = Infinity }: CallOptions = {},
    contract: Contract<Methods>,
  ): Promise<unknown> {
    given?.throwIfAborted();
    if (!(timeoutMs >= 0)) throw new RangeError(`Cannot wait ${timeoutMs} ms: want 0 or more`);
    if (this.#calls >= MAX_CALLS) {
      throw this.#error("helper_busy", `${MAX_CALLS} calls of ${this.name} wait already`);
    }
    const limitMs = Math.min(timeoutMs, this.#timeoutMs);
    const over = new AbortController();
    const timer = setTimeout(
      () =>
        over.abort(this.#error("helper_timeout", `${this.name} took longer than ${limitMs} ms`)),
      limitMs,
    );
    const signal = given ? AbortSignal.any([given, over.signal]) : over.signal;
    this.#calls++;
    try {
      return await this.#checkContract(
        method,
        await this.#try(method, input, limitMs, signal),
        contract,
      );
    } finally {
      this.#calls--;
      clearTimeout(timer);
    }
  }

  async #try(
    method: string,
    input: unknown,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<unknown> {
    const endMs = performance.now() + limitMs;
    const carrying = this.#serialize(input);
    for (let tries = 1;; tries++) {
      let lane: HelperLane | undefined;
      // Found and taken without an await, or simultaneous calls would all take the same.
      while (!(lane = this.#leastBusy())) await this.#turn(signal);
      const leftMs = Math.max(1, Math.round(endMs - performance.now()));
      try {
        return await lane.call(method, carrying, leftMs, signal);
      } catch (error) {
        const lost = error instanceof HelperError && error.code === "helper_lost";
        // The instance that died has read some of the stream.
        const again = lost && tries === 1 && lane.isSafe(method) && carrying.streams.length === 0;
        if (!again) throw error;
      }
    }
  }

  #serialize(input: unknown) {
    try {
      return serialize(input);
    } catch (error) {
      if (!(error instanceof NotSerializable)) throw error;
      throw this.#error("helper_bad_input", `The input cannot be sent: ${error.message}`);
    }
  }

  /** The instance with the fewest calls that takes more, if there is one. */
  #leastBusy(): HelperLane | undefined {
    const [first, ...others] = [...this.#lanes].filter(({ full }) => !full);
    return others.reduce((best, lane) => lane.calls < best!.calls ? lane : best, first);
  }

  /** Waits until an instance may be free. */
  async #turn(signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const aborted = () => reject(this.#unavailable(signal.reason));
    signal.addEventListener("abort", aborted, { once: true });
    this.#waiting.add(resolve);
    try {
      if (signal.aborted) aborted();
      await promise;
    } finally {
      signal.removeEventListener("abort", aborted);
      this.#waiting.delete(resolve);
      // It may have been woken in the same moment.
      if (signal.aborted) this.#wakeNext();
    }
  }

  #wakeNext(): void {
    const [wake] = this.#waiting;
    if (!wake) return;
    this.#waiting.delete(wake);
    wake();
  }

  /** Says if there was no instance until the deadline. */
  #unavailable(reason: unknown): unknown {
    if (!(reason instanceof HelperError) || this.#lanes.size > 0) return reason;
    return this.#error("helper_unavailable", `No instance of ${this.name} lives`);
  }

  async #checkContract(
    method: string,
    output: unknown,
    contract: Contract<Methods>,
  ): Promise<unknown> {
    const schema = Object.hasOwn(contract, method) ? contract[method]?.output : undefined;
    if (!schema) return output;
    const result = await schema["~standard"].validate(output);
    if (!result.issues) return result.value;
    const why = result.issues[0]?.message ?? "no reason given";
    throw this.#error("helper_bad_output", `${this.name}.${method} broke its contract: ${why}`);
  }

  #error(code: HelperError["code"], message: string): HelperError {
    return new HelperError(code, this.name, message);
  }
}
