/** Where the log of a config is, and its older files. */
import { basename, dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";

/**
 * The file of events; a config without log.folder has none.
 *
 * @param piped where else they are read from
 */
export function eventLogOf(
  { log: { folder }, file }: Pick<Config, "log" | "file">,
  piped = "journalctl -o cat SYSLOG_IDENTIFIER=holdfast",
): string {
  if (folder !== undefined) return join(folder, "holdfast.log");
  throw new HoldfastError(`${file} has no log.folder, so events are on stderr alone`, {
    kind: "usage",
    code: "no_log",
    hint: `Set log.folder, name a file by --log, or: ${piped}`,
  });
}

/** What a log that cannot be read is told as. */
export function unreadable(path: string, error: unknown): unknown {
  if (error instanceof Deno.errors.NotCapable) return error;
  return new HoldfastError(`Cannot read the log ${path}: ${(error as Error).message}`, {
    kind: "environment",
    code: "log_unreadable",
    hint: "It is there once a generation has served; name another one by --log",
    cause: error,
  });
}

/** What rotation puts behind the name: the time of the file's end. */
const SUFFIX = /^\.(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d\.\d{3}Z)(\.gz)?$/;

/** A file that was put aside. */
export interface OldLog {
  readonly path: string;
  /** Nothing in it is younger; milliseconds since 1970. */
  readonly endMs: number;
}

/** Those of a log, the oldest first. */
export function oldLogsOf(path: string): OldLog[] {
  const name = basename(path);
  const found = [...Deno.readDirSync(dirname(path))].flatMap((entry): OldLog[] => {
    if (!entry.isFile || !entry.name.startsWith(name)) return [];
    const [, ...parts] = SUFFIX.exec(entry.name.slice(name.length)) ?? [];
    if (parts.length === 0) return [];
    const [year, month, day, hour, minute, rest] = parts;
    const endMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${rest}`);
    return [{ path: join(dirname(path), entry.name), endMs }];
  });
  return found.toSorted((a, b) => a.endMs - b.endMs);
}
