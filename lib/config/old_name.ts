/** A key that still has an old name. */
import { log } from "../base/log.ts";
import type { Position } from "./problem.ts";

/** Logs it. */
export function warnOfOldName(
  { file, at, old, new: key }: { file: string; at: Position; old: string; new: string },
): void {
  log.warn("config_key_renamed", {
    ...{ file, line: at.line, column: at.column, key: old },
    hint: `Write ${key}; the old name is accepted by this version only`,
  });
}
