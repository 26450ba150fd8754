/** What a command is. */
import type { System } from "../supervisor/system.ts";

/** What a command gets from the command line. */
export interface CommandOptions {
  /** The config's path, absolute, with its links. */
  readonly config: string;
  readonly json: boolean;
  readonly markdown: boolean;
  readonly stress: boolean;
  /** `audit`: which attempts, by the beginnings of their ids, with commas between. */
  readonly only: string | undefined;
  /** `compile`: the file to be made. */
  readonly output: string | undefined;
  readonly portable: boolean;
  /** `compile`: where the executable and its data will lie. */
  readonly state: string | undefined;
  /**
   * `start`: try whether it would come up, beside a supervisor that uses this runtime folder; an
   * upgrade asks for it. Empty if it does not say.
   */
  readonly rehearse: string | undefined;
  /** What the command works with. */
  readonly system: System;
}

/** A command; it returns the exit status. */
export type CliCommand = (options: CommandOptions) => Promise<number>;
