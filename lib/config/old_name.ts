/** A key that still has an old name. */
import { log } from "../base/log.ts";
import type { Position } from "./problem.ts";

/** A renamed key that a file has by its old name, and where. */
export interface RenamedKey {
  readonly old: string;
  readonly new: string;
  readonly file: string;
  readonly at: Position;
}

/** Logs it. */
export function warnOfOldName({ file, at, old, new: key }: RenamedKey): void {
  log.warn("config_key_renamed", {
    ...{ file, line: at.line, column: at.column, key: old },
    hint: `Write ${key}; the old name is accepted by this version only`,
  });
}
