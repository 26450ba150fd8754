/**
 * A real Holdfast that serves a config which is changed while it runs: the supervisor of `start`, with its
 * wall, in this process. What it would log is given to whoever learns from it.
 */
import { HoldfastError } from "../base/error.ts";
import { configureLog, type Fields } from "../base/log.ts";
import type { RuntimePlace } from "../config/runtime_place.ts";
import { Supervisor } from "../supervisor/supervisor.ts";
import type { System } from "../supervisor/system.ts";

/** Values of a config. */
export type Values = Readonly<Record<string, unknown>>;

/** How long a generation that was replaced may take to tell its last. */
const ENDING_MS = 40_000;

const LOOK_MS = 20;

/** What came of a change. */
export type Outcome = { readonly serves: true } | {
  readonly serves: false;
  readonly error: Error;
};

export interface TrialOptions {
  /** Where the config is, for messages; and where its relative paths start. */
  readonly file: string;
  readonly named: string;
  readonly folder: string;
  /** A folder of its own. */
  readonly runtime: string;
  readonly system: System;
  /** Takes each event of the log. */
  readonly receive: (event: string, fields: Fields) => void;
}

export class Trial {
  readonly #options: TrialOptions;
  #values: Values = {};
  #serving: Supervisor | undefined;
  #started = false;

  constructor(options: TrialOptions) {
    this.#options = options;
    configureLog({
      toLine: () => "",
      send: ({ msg, levelName, args }) =>
        options.receive(msg, { ...args[0] as Fields, level: levelName.toLowerCase() }),
    });
  }

  /** Starts with a config, or changes to it. What served before has ended when this is done. */
  async bring(values: Values): Promise<Outcome> {
    this.#values = values;
    const serving = this.#serving;
    if (serving !== undefined) {
      const { outcome, reason = "", hint } = await serving.reload();
      if (outcome === "done") {
        await this.#untilAlone(serving);
        return { serves: true };
      }
      return { serves: false, error: refusedBy(reason, hint) };
    }
    const supervisor = new Supervisor(this.#options.file, this.#system());
    this.#started = true;
    try {
      await supervisor.start();
      this.#serving = supervisor;
      return { serves: true };
    } catch (error) {
      return { serves: false, error: error as Error };
    }
  }

  /** Ends it; every process has told its last by then. */
  async end(): Promise<void> {
    const serving = this.#serving;
    this.#serving = undefined;
    await serving?.stop();
  }

  #system(): System {
    const { system, file, named, folder, runtime } = this.#options;
    const place: RuntimePlace = { folder, runtime };
    const isFirst = !this.#started;
    return {
      ...system,
      closeIn: () => isFirst ? system.closeIn() : undefined,
      // What comes afterwards is written by this process too.
      giveUpPermissions: () => {},
      readConfig: () => {
        const raw = this.#values;
        return Promise.resolve({
          ...{ ...place, file, named, raw, text: JSON.stringify(raw), certain: true },
        });
      },
      locateRuntime: () => Promise.resolve(place),
    };
  }

  async #untilAlone(serving: Supervisor): Promise<void> {
    const endMs = performance.now() + ENDING_MS;
    while (serving.status().generations.length > 1 && performance.now() < endMs) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

function refusedBy(reason: string, hint: string | undefined): HoldfastError {
  return new HoldfastError(reason, { kind: "config", code: "refused", ...hint && { hint } });
}
