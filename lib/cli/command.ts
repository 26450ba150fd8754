/** The type of commands. */
import type { LogsOptions } from "./logs.ts";
import type { System } from "../supervisor/system.ts";

/** `dev`: what its options say, still to be judged. */
export interface DevelopmentChoices {
  readonly wall?: string | undefined;
  /** Empty for the usual address. */
  readonly inspect?: string | undefined;
  readonly open?: string | undefined;
  /** Whether this is the supervisor that `dev` starts. */
  readonly supervised?: boolean;
}

/** Options of the command line. */
export interface CommandOptions {
  /** The config's path, absolute, with its links. */
  readonly config: string;
  /** `start`, `check`, `explain`: the app, where it is to be served without a config. */
  readonly app: string | undefined;
  readonly json: boolean;
  /** Print all columns, whatever the width of the terminal. */
  readonly wide: boolean;
  /** `explain`, `audit`: print all that there is. */
  readonly all: boolean;
  readonly markdown: boolean;
  /** `audit`: SARIF 2.1.0. */
  readonly sarif: boolean;
  /** `audit`: at least one attempt of each kind. */
  readonly quick: boolean;
  readonly stress: boolean;
  /** `audit`: which attempts, by the beginnings of their ids, with commas between. */
  readonly only: string | undefined;
  /** `compile`: the file to write. */
  readonly output: string | undefined;
  /** `compile`: the app's name in it; `service`: the service's. */
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
  /** `learn`: write what is proposed. */
  readonly apply: boolean;
  /** `learn`: a file of requests to replay. */
  readonly requests: string | undefined;
  /** `unused`: how far back. */
  readonly since: string | undefined;
  /** `compile`: the folder of the executable and its data. */
  readonly state: string | undefined;
  /**
   * `start`: only try a start, beside a supervisor with this runtime folder, for an upgrade. Empty if the
   * folder is not given.
   */
  readonly rehearse: string | undefined;
  /** `why`: what is asked; nothing for a list of what was refused. */
  readonly question: string | undefined;
  /** `completion`: a shell, or what a shell asks for. */
  readonly subject: string | undefined;
  /** `why`: the helper whose policy is asked. */
  readonly helper: string | undefined;
  /** `why`, `unused`: the log file that is read, if not the config's. */
  readonly log: string | undefined;
  /** `logs`: which events. */
  readonly logs: LogsOptions;
  /** `rollback`: which release; the one before, where none is named. */
  readonly release: number | undefined;
  /** `service install`: the user of all its processes. */
  readonly user: string | undefined;
  /** `service install`: print the files, and write none. */
  readonly print: boolean;
  /** `service install`: systemd binds the addresses. */
  readonly socket: boolean;
  /** `service`: also start it, or stop it. */
  readonly now: boolean;
  readonly development?: DevelopmentChoices;
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
