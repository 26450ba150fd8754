/** The type of commands. */
import type { System } from "../supervisor/system.ts";

/** Options of the command line. */
export interface CommandOptions {
  /** The config's path, absolute, with its links. */
  readonly config: string;
  /** `start`, `check`, `explain`: the app, where it is to be served without a config. */
  readonly app: string | undefined;
  readonly json: boolean;
  readonly markdown: boolean;
  readonly stress: boolean;
  /** `audit`: which attempts, by the beginnings of their ids, with commas between. */
  readonly only: string | undefined;
  /** `compile`: the file to write. */
  readonly output: string | undefined;
  /** `compile`: the app's name in it. */
  readonly name: string | undefined;
  readonly portable: boolean;
  /** `reload`: also if it grants more than what serves. */
  readonly widen: boolean;
  /** `compile`: Holdfast, without an app. */
  readonly self: boolean;
  /** `releases`: read their images as a whole. */
  readonly verify: boolean;
  /** `init`: ask nothing. */
  readonly yes: boolean;
  /** `compile`: the folder of the executable and its data. */
  readonly state: string | undefined;
  /**
   * `start`: only try a start, beside a supervisor with this runtime folder, for an upgrade. Empty if the
   * folder is not given.
   */
  readonly rehearse: string | undefined;
  /** `why`: what is asked; nothing for a list of what was refused. */
  readonly question: string | undefined;
  /** `why`: the helper whose policy is asked. */
  readonly helper: string | undefined;
  /** `why`: the log file that is read, if not the config's. */
  readonly log: string | undefined;
  /** `rollback`: which release; the one before, where none is named. */
  readonly release: number | undefined;
  /** What the command calls. */
  readonly system: System;
}

/** What a command that only asks a supervisor needs of this machine: where its runtime folder is. */
export type AskingOptions = Omit<CommandOptions, "system"> & {
  readonly system: Pick<System, "locateRuntime">;
};

/** A command that only asks a supervisor. */
export type AskingCommand = (options: AskingOptions) => Promise<number>;

/** A command; it returns the exit status. */
export type CliCommand = (options: CommandOptions) => Promise<number>;
