/** The guestbook's maker of thumbnails in a process that may do nothing at all. */
import { assert } from "@std/assert";
import { join } from "node:path";
import {
  type Made,
  thumbnailsContract,
} from "../../examples/guestbook/helpers/thumbnails_contract.ts";
import { REPOSITORY } from "./project.ts";

/** Of processor time in a second, as proc(5) counts (USER_HZ). */
const TICKS = 100;

/** Every kind of permission that there is. */
const NOTHING = [
  "--no-prompt",
  "--cached-only",
  "--frozen",
  ...["read", "write", "net", "env", "run", "ffi", "sys", "import"].map((kind) => `--deny-${kind}`),
];

/** What was made, where it must be a picture. */
export function pictureOf(made: Made): Extract<Made, { outcome: "picture" }> {
  assert(made.outcome === "picture", JSON.stringify(made));
  return made;
}

/** Why a photo was refused, or "picture". */
export function reasonOf(made: Made): string {
  return made.outcome === "refused" ? made.reason : made.outcome;
}

export class NarrowThumbnails implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #output: ReadableStreamDefaultReader<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();

  private constructor(child: Deno.ChildProcess) {
    this.#child = child;
    this.#input = child.stdin.getWriter();
    this.#output = child.stdout.getReader();
  }

  /** @param memoryBytes what the process may write to (RLIMIT_DATA), as in a config */
  static start(memoryBytes: number): NarrowThumbnails {
    const program = join(REPOSITORY, "tests/doubles/thumbnail_loop.ts");
    const limited = 'ulimit -d "$1" && shift && exec "$@"';
    return new NarrowThumbnails(
      new Deno.Command("sh", {
        args: [
          ...["-c", limited, "sh", String(Math.floor(memoryBytes / 1024))],
          ...[Deno.execPath(), "run", ...NOTHING, program],
        ],
        stdin: "piped",
        stdout: "piped",
        stderr: "inherit",
      }).spawn(),
    );
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** The most memory that it ever had in use. */
  peakBytes(): number {
    const status = Deno.readTextFileSync(`/proc/${this.#child.pid}/status`);
    return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  }

  /** The time that a processor has spent on it: a busy machine does not change it. */
  processorSeconds(): number {
    const stat = Deno.readTextFileSync(`/proc/${this.#child.pid}/stat`);
    const [, , , , , , , , , , , user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(user) + Number(system)) / TICKS;
  }

  /** What it makes of a photo, judged as the app judges it. */
  async make(photo: Uint8Array): Promise<Made> {
    await this.#input.write(framed(photo));
    const made = JSON.parse(new TextDecoder().decode(await this.#read()));
    for (const key of ["picture", "thumbnail"]) {
      if (key in made) made[key].bytes = await this.#read();
    }
    return thumbnailsContract.make.output.parse(made);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its input ends, and so does it.
    await this.#input.close().catch(() => {});
    await this.#output.cancel();
    await this.#child.status;
  }

  async #read(): Promise<Uint8Array<ArrayBuffer>> {
    const head = await this.#take(4);
    return await this.#take(new DataView(head.buffer).getUint32(0));
  }

  async #take(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const taken = new Uint8Array(count);
    for (let at = 0; at < count;) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#output.read();
        if (done) throw new Error("Cannot get an answer: the maker of thumbnails is gone");
        this.#rest = value;
      }
      const piece = this.#rest.subarray(0, count - at);
      taken.set(piece, at);
      at += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return taken;
  }
}

function framed(bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(4 + bytes.length);
  new DataView(frame.buffer).setUint32(0, bytes.length);
  frame.set(bytes, 4);
  return frame;
}
