/** Old log files: renamed by the time of their end, compressed, and finally removed. */
import { basename, dirname, join } from "node:path";

/** When a log file is rotated, and how many are kept. */
export interface Rotation {
  /** The largest file, in bytes; only a single line that is longer makes a larger one. */
  readonly maxBytes: number;
  /** How old a file may be when a line is added, in milliseconds; 0 for any age. */
  readonly maxAgeMs: number;
  /** How many old files are kept, the newest ones. */
  readonly keep: number;
  readonly compress: "gzip" | "none";
}

/** The same as the log's: its readers may read the old files too. */
const FILE_MODE = 0o640;

/** What follows the name of the log in the name of an old file: `.20261124T182815.123Z`. */
const SUFFIX = /^\.\d{8}T\d{6}\.\d{3}Z(\.gz|\.gz\.part)?$/;

/**
 * Renames the file at `path`; the new name has the time of its end, in UTC.
 *
 * @param nowMs milliseconds since 1970
 * @returns the new path
 */
export async function setAside(path: string, nowMs: number): Promise<string> {
  for (let timeMs = nowMs;; timeMs++) {
    const stamp = new Date(timeMs).toISOString().replaceAll(/[:-]/g, "");
    const aside = `${path}.${stamp}`;
    if (await isThere(aside) || await isThere(`${aside}.gz`)) continue;
    await Deno.rename(path, aside);
    return aside;
  }
}

/**
 * Removes the old files of `path` that are too many, and what a compression left half done; then
 * compresses the others. A file that cannot be compressed stays as it is.
 *
 * @throws the system's error, after everything was tried
 */
export async function tidy(path: string, { keep, compress }: Rotation): Promise<void> {
  const failures: unknown[] = [];
  const attempt = (job: Promise<unknown>) => job.catch((error) => failures.push(error));
  const old: string[] = [];
  for await (const { name, isFile } of Deno.readDir(dirname(path))) {
    if (!isFile || !name.startsWith(basename(path))) continue;
    const suffix = SUFFIX.exec(name.slice(basename(path).length));
    if (suffix === null) continue;
    if (suffix[1] === ".gz.part") await attempt(Deno.remove(join(dirname(path), name)));
    else old.push(join(dirname(path), name));
  }
  old.sort();
  // Room first: the disk may be full.
  for (const file of old.splice(0, Math.max(old.length - keep, 0))) {
    await attempt(Deno.remove(file));
  }
  if (compress === "gzip") {
    for (const file of old) if (!file.endsWith(".gz")) await attempt(gzip(file));
  }
  if (failures.length > 0) throw failures[0];
}

async function gzip(path: string): Promise<void> {
  const part = `${path}.gz.part`;
  try {
    const from = await Deno.open(path);
    const to = await Deno.open(part, { write: true, createNew: true, mode: FILE_MODE });
    await from.readable.pipeThrough(new CompressionStream("gzip")).pipeTo(to.writable);
    await Deno.rename(part, `${path}.gz`);
  } catch (error) {
    await Deno.remove(part).catch(() => {});
    throw error;
  }
  await Deno.remove(path);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
