/** What is not unveiled is answered as if it were not there: whoever asks for it by its path is told why. */
import fs from "node:fs";
import sqlite from "node:sqlite";
import { rememberCaller } from "./callers.ts";
import { withDeepStack } from "./frames.ts";
import { grantUse } from "./grant_use.ts";
import type { Refusals } from "./refusals.ts";
import { callExplained, explainEvents, type Method, replace } from "./replace.ts";

/** Functions whose first argument is a path that they read; `stat` and its like only say what is there. */
const DENO_READERS = [
  ...["open", "readFile", "readTextFile", "readDir", "readLink", "realPath", "copyFile"],
] as const;
const NODE_READERS = [
  ...["open", "readFile", "readdir", "opendir", "readlink", "realpath", "copyFile"],
] as const;
const NODE_OTHERS = ["createReadStream", "createWriteStream", "watch"] as const;

/** The names in modules of Node's that are replaced, for who imports them by name. */
export const REPLACED_READERS = {
  fs: [...NODE_READERS, ...NODE_READERS.map((name) => `${name}Sync`), ...NODE_OTHERS],
  "fs/promises": [...NODE_READERS],
  sqlite: ["DatabaseSync"],
} as const;

/** Explains them. */
export function explainReads(refusals: Refusals): void {
  const wrap = (place: object, name: string) => wrapReader(refusals, place, name);
  for (const name of DENO_READERS) {
    wrap(Deno, name);
    wrap(Deno, `${name}Sync`);
  }
  wrap(Deno, "chdir");
  wrap(Deno, "watchFs");
  for (const name of NODE_READERS) {
    wrap(fs, name);
    wrap(fs, `${name}Sync`);
    wrap(fs.promises, name);
  }
  for (const name of NODE_OTHERS) wrap(fs, name);
  wrapDatabase(refusals);
}

function wrapReader(refusals: Refusals, place: object, name: string): void {
  const holder = place as Record<string, Method>;
  const original = holder[name];
  if (original === undefined) return;
  const wrapped: Method = function (path, ...all) {
    const hidden = refusals.hidden(Array.isArray(path) ? path[0] : path);
    if (hidden === undefined) return Reflect.apply(original, this, [path, ...all]);
    // Where it fails, the stack may have nothing of the app any more.
    const { stack } = withDeepStack(new Error(), wrapped);
    rememberCaller([hidden], stack);
    const explain = (error: unknown) => refusals.explainHidden(error, hidden, stack);
    const result = callExplained(original, this, [path, ...all], explain);
    return name.endsWith("Stream") ? explainEvents(result as never, explain) : result;
  };
  replace(holder, name, wrapped);
}

/** A database of node:sqlite is opened by a path too. */
function wrapDatabase(refusals: Refusals): void {
  const { DatabaseSync } = sqlite;
  const opening = <Result>(path: unknown, open: () => Result): Result => {
    try {
      return open();
    } catch (error) {
      const hidden = refusals.hidden(path);
      const { stack } = withDeepStack(new Error(), opening);
      throw hidden === undefined ? error : refusals.explainHidden(error, hidden, stack, "database");
    }
  };
  sqlite.DatabaseSync = new Proxy(DatabaseSync, {
    construct: (target, all, newTarget) => {
      const database = opening(all[0], () => Reflect.construct(target, all, newTarget));
      grantUse()?.read(all[0]);
      if (!Object(all[1]).readOnly) grantUse()?.write(all[0]);
      return database;
    },
  });
}
