/** Reads the lines of a log, and those that come, also after it was rotated, emptied or removed. */
import { sleep } from "../base/sleep.ts";

const LOOK_MS = 250;

const CHUNK_BYTES = 64 * 1024;

/** A longer line is no event of Holdfast's. */
const MAX_LINE_CHARS = 4 * 1024 * 1024;

/** Puts lines together from bytes. */
class Lines {
  readonly #decoder = new TextDecoder();
  #rest = "";

  *push(bytes: Uint8Array): Generator<string> {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop()!;
    if (this.#rest.length > MAX_LINE_CHARS) this.#rest = "";
    yield* lines;
  }

  /** What comes behind the last end of a line. */
  *end(): Generator<string> {
    if (this.#rest !== "") yield this.#rest;
  }
}

/** The lines of a file that nobody adds to; a gzip is read as what it holds. */
export async function* readLines(path: string): AsyncGenerator<string> {
  const file = await Deno.open(path);
  const readable = path.endsWith(".gz")
    ? file.readable.pipeThrough(new DecompressionStream("gzip"))
    : file.readable;
  const lines = new Lines();
  for await (const bytes of readable) yield* lines.push(bytes);
  yield* lines.end();
}

/**
 * The lines of a log from its beginning on; then what comes, as long as `signal` is not aborted.
 *
 * @param onEnd called each time all that is there was read
 * @throws the system's error, if it cannot be opened at first
 */
export async function* followLines(
  path: string,
  { signal, onEnd }: { readonly signal: AbortSignal; readonly onEnd: () => void },
): AsyncGenerator<string> {
  let file = await Deno.open(path);
  try {
    let lines = new Lines();
    let position = 0;
    const buffer = new Uint8Array(CHUNK_BYTES);
    while (true) {
      // Looked at first: what was written to it before it was replaced is read yet.
      const next = await findNext(path, file, position);
      for (let length; (length = await file.read(buffer)) !== null;) {
        position += length;
        yield* lines.push(buffer.subarray(0, length));
      }
      onEnd();
      if (next !== undefined) {
        if (next !== file) file.close();
        else await file.seek(0, Deno.SeekMode.Start);
        [file, position, lines] = [next, 0, new Lines()];
        continue;
      }
      if (signal.aborted) return;
      await sleep(LOOK_MS, signal);
      if (signal.aborted) return;
    }
  } finally {
    file.close();
  }
}

/** What is read from now on: another file of that name, or the same one that was emptied. */
async function findNext(
  path: string,
  file: Deno.FsFile,
  position: number,
): Promise<Deno.FsFile | undefined> {
  try {
    const [there, own] = [await Deno.stat(path), await file.stat()];
    if (there.ino === own.ino && there.dev === own.dev) {
      return own.size < position ? file : undefined;
    }
    // As long as nothing is in it, the old one may still be written to, as after `create` of logrotate.
    return there.size === 0 ? undefined : await Deno.open(path);
  } catch {
    // Between its renaming and the new one it is not there.
    return undefined;
  }
}
