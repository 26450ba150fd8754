/** The lines of log files, the rotated ones first, as they come. */
import { basename, dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";

/** How a rotated file is called: see lib/logger/rotation.ts. */
const ROTATED = /^\.\d{8}T\d{6}\.\d{3}Z(\.gz)?$/;

/** A log file, and those that were renamed by time, the oldest first. */
export function rotatedFiles(path: string): string[] {
  const name = basename(path);
  let names: string[] = [];
  try {
    names = [...Deno.readDirSync(dirname(path))].map((each) => each.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
  }
  const old = names.filter((each) => each.startsWith(name) && ROTATED.test(each.slice(name.length)))
    .sort();
  return [...old.map((each) => join(dirname(path), each)), path];
}

/**
 * The lines of a file, `-` for standard input.
 *
 * @throws {HoldfastError} if it cannot be read
 */
export async function* linesOf(path: string): AsyncGenerator<string> {
  let rest = "";
  for await (const text of await textOf(path)) {
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
  if (rest !== "") yield rest;
}

async function textOf(path: string): Promise<ReadableStream<string>> {
  if (path === "-") return Deno.stdin.readable.pipeThrough(new TextDecoderStream());
  try {
    const { readable } = await Deno.open(path);
    const bytes = path.endsWith(".gz")
      ? readable.pipeThrough(new DecompressionStream("gzip"))
      : readable;
    return bytes.pipeThrough(new TextDecoderStream());
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    throw new HoldfastError(`Cannot read the log ${path}: ${(error as Error).message}`, {
      kind: "environment",
      code: "log_unreadable",
      hint: "It is there once a generation has served; name another one by --log",
      cause: error,
    });
  }
}
