/** Learns what an app wants: serves it, grants what it was refused, and serves it again until it asks for no more. */
import { resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Accesses } from "./access.ts";
import { withLines } from "./edit_config.ts";
import {
  type Apart,
  type Line,
  namesOfUse,
  type Place,
  type Proposal,
  propose,
  wordsOf,
} from "./propose.ts";
import { replay, type Replayed, type ReplayRequest } from "./requests.ts";
import type { Outcome, Trial, Values } from "./trial.ts";

/** How often it is served at the most: each time shows what comes after what was refused before. */
const MAX_ROUNDS = 40;

/** How long further refusals are waited for, while somebody uses the app. */
const SETTLE_MS = 300;

const LOOK_MS = 100;

export interface LearnOptions {
  readonly trial: Trial;
  /** What the trial tells of. */
  readonly accesses: Accesses;
  readonly place: Omit<Place, "refusedBy">;
  /** The config to begin with, and its address. */
  readonly values: Values;
  readonly origin: string;
  /** What is replayed; without any somebody uses the app until `signal`. */
  readonly requests: readonly ReplayRequest[] | undefined;
  readonly signal: AbortSignal;
  /** Checks the config that would come of it, with all that the trial does without; why it is refused. */
  readonly verify: (lines: readonly Line[]) => Promise<Error | undefined>;
  /** Told what happens, for who watches. */
  readonly tell: (text: string) => void;
}

/** What was learned. */
export interface Learned extends Proposal {
  /** Why the app did not serve at last. */
  readonly failure: Error | undefined;
  readonly replayed: Replayed | undefined;
  /** How often it was served. */
  readonly rounds: number;
}

/** @throws {HoldfastError} if the config itself is refused, before anything is added to it */
export async function learn(options: LearnOptions): Promise<Learned> {
  return await new Lesson(options).run();
}

class Lesson {
  readonly #options: LearnOptions;
  /** What the check of a config says of a line. */
  readonly #refused = new Map<string, string>();
  /** Lines that were asked for in an earlier round, and not since others were granted. */
  readonly #dropped = new Set<string>();
  #lines: readonly Line[] = [];
  #rounds = 0;
  #replayed: Replayed | undefined;

  constructor(options: LearnOptions) {
    this.#options = options;
  }

  async run(): Promise<Learned> {
    const { requests, signal, trial } = this.#options;
    try {
      let failure = requests === undefined ? await this.#use() : undefined;
      // What is told at the end of a process may bring more.
      const settle = async () => {
        for (let again = true; again && this.#rounds < MAX_ROUNDS;) {
          failure = await this.#round(requests);
          await trial.end();
          again = this.#update() && !(signal.aborted && requests !== undefined);
        }
      };
      await settle();
      if (requests !== undefined && failure === undefined && this.#drop()) await settle();
      while (failure === undefined) {
        failure = await this.#refusal();
        if (failure === undefined || !this.#takeOut(failure)) break;
        failure = undefined;
        await settle();
      }
      const { lines, apart } = this.#propose();
      const hints = requests === undefined ? [] : namedTemporary(lines);
      const facts = { failure, replayed: this.#replayed, rounds: this.#rounds };
      return { lines, apart: [...apart, ...hints], ...facts };
    } finally {
      await trial.end();
    }
  }

  /** Serves with what was learned so far, and asks what is to be asked. */
  async #round(requests: readonly ReplayRequest[] | undefined): Promise<Error | undefined> {
    const { accesses, origin, signal } = this.#options;
    if (requests !== undefined) accesses.restart();
    const outcome = await this.#bring();
    if (!outcome.serves) return outcome.error;
    if (requests?.length) this.#replayed = await replay(origin, requests, signal);
    return undefined;
  }

  /** Serves somebody until told to stop. */
  async #use(): Promise<Error | undefined> {
    const { accesses, origin, signal, tell } = this.#options;
    let failure: Error | undefined;
    let seen = -1;
    for (let serves = false; !signal.aborted && this.#rounds < MAX_ROUNDS;) {
      if (serves && accesses.count === seen) {
        await pause(LOOK_MS);
        continue;
      }
      if (serves) await pause(SETTLE_MS);
      seen = accesses.count;
      if (serves && !this.#update()) continue;
      const outcome = await this.#bring();
      failure = outcome.serves ? undefined : outcome.error;
      if (outcome.serves && !serves) tell(`Serves on ${origin}`);
      serves ||= outcome.serves;
      if (!serves && !this.#update()) break;
    }
    return failure;
  }

  /** Brings up what is proposed; a line that the check refuses is taken out. */
  async #bring(): Promise<Outcome> {
    const { trial, values, place } = this.#options;
    this.#rounds++;
    for (;;) {
      const outcome = await trial.bring(withLines(values, this.#lines, place.folder));
      if (outcome.serves) return outcome;
      if (this.#takeOut(outcome.error)) continue;
      // The config itself, or the machine: nothing is to be learned about the app.
      const isOther = outcome.error instanceof HoldfastError && outcome.error.kind !== "app";
      if (isOther && this.#lines.length === 0) throw outcome.error;
      return outcome;
    }
  }

  /** Why the config that would come of it is refused. */
  async #refusal(): Promise<Error | undefined> {
    return this.#lines.length === 0 ? undefined : await this.#options.verify(this.#lines);
  }

  /** Takes out the lines for which a config was refused. */
  #takeOut(error: Error): boolean {
    const blamed = this.#blame(error);
    if (blamed.length === 0) return false;
    for (const { line, why } of blamed) {
      this.#refused.set(keyOf(line), why);
      this.#options.tell(`Not granted: ${line.process} ${wordsOf(line)}`);
    }
    this.#lines = this.#propose().lines;
    return true;
  }

  #propose(): Proposal {
    const { accesses, place } = this.#options;
    const { lines, apart } = propose(accesses.all, {
      ...place,
      refusedBy: (line) => this.#refused.get(keyOf(line)),
    });
    // What was dropped comes back as soon as it is asked for.
    const isWanted = (line: Line) =>
      !this.#dropped.has(keyOf(line)) || line.seen.some(({ times }) => times > 0);
    return { lines: lines.filter(isWanted), apart };
  }

  /**
   * Takes out what was not used any more when everything was granted: an app that lacks one thing asks for
   * others in its place. Whether that is so the next round shows.
   *
   * @returns whether there was any
   */
  #drop(): boolean {
    const { accesses, place } = this.#options;
    const idle = this.#lines.filter((line) =>
      line.key !== "tmp" && accesses.timesOf(line.process, namesOfUse(line, place)) === 0
    );
    for (const line of idle) this.#dropped.add(keyOf(line));
    this.#lines = this.#propose().lines;
    return idle.length > 0;
  }

  /** @returns whether something was added */
  #update(): boolean {
    const { tell } = this.#options;
    const before = new Set(this.#lines.map(signatureOf));
    this.#lines = this.#propose().lines;
    for (const line of this.#lines) this.#dropped.delete(keyOf(line));
    const added = this.#lines.filter((line) => !before.has(signatureOf(line)));
    for (const line of added) tell(`${line.process}: ${wordsOf(line)}`);
    return added.length > 0;
  }

  /** The lines that a config was refused for: each line of the message names one. */
  #blame({ message }: Error): { line: Line; why: string }[] {
    const { folder } = this.#options.place;
    return message.split("\n").flatMap((said) => {
      const found = this.#lines.flatMap((line) => {
        const spelled = [line.item, resolve(folder, line.item)].map((each) => JSON.stringify(each));
        const at = Math.min(
          ...spelled.map((each) => said.indexOf(each)).filter((index) => index >= 0),
        );
        return Number.isFinite(at) && line.item !== "" ? [{ line, at }] : [];
      }).sort((a, b) => a.at - b.at)[0];
      // The file, the place in it and the key are said by the line itself.
      const why = said.replace(/^.*?(\[[^\]]*\]|\.\w+): (?=.)/, "");
      return found === undefined ? [] : [{ line: found.line, why }];
    });
  }
}

/** What was refused still, though there was a folder for temporary files. */
function namedTemporary(lines: readonly Line[]): Apart[] {
  return lines.filter(({ key }) => key === "tmp").flatMap(({ process, seen }) =>
    seen.filter(({ times }) => times > 0).map((each) => ({
      ...{ process, what: `${each.kind} ${each.what}`, seen: [each] },
      why:
        '"tmp" gives a folder that TMPDIR names, and the app names this one itself: use os.tmpdir()',
    }))
  );
}

function keyOf({ process, key, item }: Pick<Line, "process" | "key" | "item">): string {
  return JSON.stringify([process, key, item.replace(/(.)\/$/, "$1")]);
}

function signatureOf(line: Line): string {
  return `${keyOf(line)} ${line.rights}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
