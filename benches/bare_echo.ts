/**
 * An echo over a Unix socket between two processes, with nothing on top: what a call of a helper is
 * measured against. Run by itself it is the process that echoes.
 */
import { fileURLToPath } from "node:url";

const PHOTO_BYTES = 20_000_000;
const READ_BYTES = 256 * 1024;

export class BareEcho implements AsyncDisposable {
  readonly #folder: string;
  readonly #process: Deno.ChildProcess;
  readonly #conn: Deno.Conn;
  readonly #buffer = new Uint8Array(READ_BYTES);

  constructor(folder: string, process: Deno.ChildProcess, conn: Deno.Conn) {
    this.#folder = folder;
    this.#process = process;
    this.#conn = conn;
  }

  /** Starts the other process and connects to it. */
  static async start(): Promise<BareEcho> {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_bench_" });
    const path = `${folder}/echo.sock`;
    using listener = Deno.listen({ transport: "unix", path });
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-lock", fileURLToPath(import.meta.url), path],
      stdin: "null",
    }).spawn();
    return new BareEcho(folder, process, await listener.accept());
  }

  /** Round trips a second: so many bytes, and all of them back. */
  async measure(
    { bytes, atOnce, seconds }: { bytes: number; atOnce: number; seconds: number },
  ): Promise<number> {
    const value = new Uint8Array(bytes).fill(7);
    const endMs = performance.now() + seconds * 1000;
    let count = 0;
    for (; performance.now() < endMs; count += atOnce) await this.#echo(value, atOnce);
    return count / seconds;
  }

  /** How long each of so many photos takes, in milliseconds. */
  async measurePhotos(count: number): Promise<number[]> {
    const photo = new Uint8Array(PHOTO_BYTES).fill(7);
    const took: number[] = [];
    while (took.length < count) {
      const startMs = performance.now();
      await this.#echo(photo, 1);
      took.push(performance.now() - startMs);
    }
    return took;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#conn.close();
    await this.#process.status;
    await Deno.remove(this.#folder, { recursive: true });
  }

  async #echo(value: Uint8Array, times: number): Promise<void> {
    const read = this.#read(value.length * times);
    for (let time = 0; time < times; time++) await writeAll(this.#conn, value);
    await read;
  }

  async #read(length: number): Promise<void> {
    for (let left = length; left > 0;) {
      const count = await this.#conn.read(this.#buffer);
      if (count === null) throw new Error("The echo ended");
      left -= count;
    }
  }
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}

if (import.meta.main) {
  using conn = await Deno.connect({ transport: "unix", path: Deno.args[0]! });
  const buffer = new Uint8Array(READ_BYTES);
  for (let count; (count = await conn.read(buffer)) !== null;) {
    await writeAll(conn, buffer.subarray(0, count));
  }
}
