/**
 * What is asked of the supervisor: one operation at a time. Each that is asked for leaves an outcome: it
 * is done, it is refused with a reason, or it is part of another one.
 */
import type { Status } from "../protocol/control.ts";
import { sleep } from "../base/sleep.ts";

export type OperationName = "start" | "reload" | "rollback" | "upgrade" | "stop";

/**
 * What becomes of an operation that is asked for while another one is under way. One that waits is one
 * with those of its kind that wait already.
 */
export type Rule = "waits" | "refused" | "ends it" | "joins it";

/** What is under way ends by itself before anything else begins, but for a stop. */
const BUSY: Record<OperationName, Rule> = {
  ...{ start: "refused", reload: "waits", rollback: "waits", upgrade: "waits", stop: "ends it" },
};

/** A row for what is under way, or is next; a column for what is asked for. docs/upgrade.md has it too. */
export const AT_THE_SAME_TIME: Record<OperationName, Record<OperationName, Rule>> = {
  start: BUSY,
  reload: BUSY,
  rollback: BUSY,
  upgrade: { ...BUSY, upgrade: "refused" },
  stop: {
    ...{ start: "refused", reload: "refused", rollback: "refused", upgrade: "refused" },
    stop: "joins it",
  },
};

/** Of those that wait, the first here goes first: what an upgrade brings in is all that a reload does. */
const ORDER: readonly OperationName[] = ["start", "stop", "upgrade", "rollback", "reload"];

const REASONS: Record<OperationName, string> = {
  start: "a start is under way",
  reload: "a reload is under way",
  rollback: "a rollback is under way",
  upgrade: "an upgrade is under way",
  stop: "The supervisor is stopping",
};

/** The least time between the beginnings of two reloads when they come in a storm. */
export const RELOAD_SPACING_MS = 500;

export interface QueueClock {
  nowMs(): number;
  sleep(ms: number, signal: AbortSignal): Promise<void>;
}

export interface Operation<Result> {
  /**
   * Does it.
   *
   * @param release which one, of a rollback; its kind, of a reload
   */
  run(release?: number): Promise<void>;
  /**
   * Tells how it ended, once for each run and each refusal.
   *
   * @param error why it failed or was refused
   * @returns what whoever asked for it is told
   */
  outcome(error: Error | undefined, ms: number): Result;
  /** Waits until it may begin, or `signal` aborts. */
  mayRun?(signal: AbortSignal): Promise<void>;
  /** It waits, and is about to be done by another one. */
  merged?(into: OperationName): void;
}

type Entry = PromiseWithResolvers<unknown>;

/** What was asked for and has not begun. */
interface Waiting {
  readonly name: OperationName;
  readonly release: number | undefined;
  readonly entry: Entry;
}

export class OperationQueue<Results extends Record<OperationName, unknown>> {
  readonly #operations: { readonly [Name in OperationName]: Operation<Results[Name]> };
  readonly #health: () => Exclude<Status["state"], "stopping">;
  readonly #clock: QueueClock;
  readonly #stopping = new AbortController();
  readonly #stop: Entry = Promise.withResolvers();
  /** The oldest first. */
  #waiting: Waiting[] = [];
  #underWay: OperationName | undefined;
  #working = false;
  #reloadBeganMs = -Infinity;
  /** Aborts when something comes that goes before a reload which waits. */
  #preferred = new AbortController();

  /** @param health what state the newest generation alone makes it */
  constructor(
    operations: { readonly [Name in OperationName]: Operation<Results[Name]> },
    health: () => Exclude<Status["state"], "stopping">,
    clock: QueueClock = { nowMs: () => performance.now(), sleep },
  ) {
    this.#operations = operations;
    this.#health = health;
    this.#clock = clock;
  }

  /** Aborts when a stop is asked for, or the start has failed: what is under way ends by it. */
  get signal(): AbortSignal {
    return this.#stopping.signal;
  }

  /** The state of the supervisor. */
  get state(): Status["state"] {
    if (this.signal.aborted) return "stopping";
    const health = this.#health();
    return health === "serving" && this.#next() === "upgrade" ? "upgrading" : health;
  }

  /** Whether a reload is under way, or waits until it may be. */
  get reload(): Status["reload"] {
    if (this.#underWay === "reload" || this.#underWay === "rollback") return "running";
    return this.#has("reload") ? "waiting" : "idle";
  }

  /**
   * Asks for an operation; the result is that of one that began after this call.
   *
   * @param release which one, of a rollback, or the kind of a reload: only those of the same one are one
   */
  ask<Name extends OperationName>(name: Name, release?: number): Promise<Results[Name]> {
    const row = this.#next();
    const rule = row === undefined ? "waits" : AT_THE_SAME_TIME[row][name];
    if (rule === "refused") {
      const refused: Entry = Promise.withResolvers();
      this.#settle(name, refused, new Error(REASONS[row!]), 0);
      return refused.promise as Promise<Results[Name]>;
    }
    const same = this.#waiting.find((each) => each.name === name && each.release === release);
    const entry = name === "stop" ? this.#stop : same?.entry ?? Promise.withResolvers();
    if (rule !== "joins it") {
      if (same === undefined) this.#waiting.push({ name, release, entry });
      if (name === "stop") this.#beginStop();
      if (name !== "reload") this.#preferred.abort();
      if (!this.#working) void this.#work();
    }
    return entry.promise as Promise<Results[Name]>;
  }

  /** Has it said of what waits that it is part of an upgrade; it runs all the same if that fails. */
  mergeWaiting(): void {
    for (const { name } of this.#waiting) this.#operations[name].merged?.("upgrade");
  }

  /** The row of the table that counts. */
  #next(): OperationName | undefined {
    if (this.signal.aborted) return "stop";
    return this.#has("upgrade") ? "upgrade" : this.#underWay;
  }

  #has(name: OperationName): boolean {
    return this.#waiting.some((each) => each.name === name);
  }

  async #work(): Promise<void> {
    this.#working = true;
    let name: OperationName | undefined;
    while ((name = ORDER.find((each) => this.#has(each))) !== undefined) {
      if ((name === "reload" || name === "rollback") && !await this.#mayRun(name)) continue;
      const at = this.#waiting.findIndex((each) => each.name === name);
      const [{ entry, release }] = this.#waiting.splice(at, 1) as [Waiting];
      this.#underWay = name;
      const startMs = this.#clock.nowMs();
      if (name === "reload") this.#reloadBeganMs = startMs;
      const error = await this.#operations[name].run(release).then(
        () => undefined,
        (error) => error,
      );
      this.#underWay = undefined;
      this.#settle(name, entry, error, this.#clock.nowMs() - startMs);
      // Nothing of it is left then.
      if (name === "start" && error && !this.signal.aborted) void this.ask("stop");
    }
    this.#working = false;
  }

  /** Whether nothing came meanwhile that goes first. */
  async #mayRun(name: "reload" | "rollback"): Promise<boolean> {
    this.#preferred = new AbortController();
    const { signal } = this.#preferred;
    const restMs = name === "rollback"
      ? 0
      : this.#reloadBeganMs + RELOAD_SPACING_MS - this.#clock.nowMs();
    if (restMs > 0) await this.#clock.sleep(restMs, signal);
    if (!signal.aborted) await this.#operations[name].mayRun?.(signal);
    return !signal.aborted;
  }

  #beginStop(): void {
    const error = new Error(REASONS.stop);
    this.#stopping.abort(error);
    const [stops, others] = [true, false].map((stop) =>
      this.#waiting.filter(({ name }) => (name === "stop") === stop)
    );
    this.#waiting = stops!;
    for (const { name, entry } of others!) this.#settle(name, entry, error, 0);
  }

  #settle(name: OperationName, entry: Entry, error: Error | undefined, ms: number): void {
    try {
      entry.resolve(this.#operations[name].outcome(error, ms));
    } catch (failure) {
      entry.reject(failure);
    }
  }
}
