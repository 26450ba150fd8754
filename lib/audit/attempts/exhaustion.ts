/** Using up what others need. */
import { Buffer } from "node:buffer";
import { closeSync, ftruncateSync, openSync, writeSync } from "node:fs";
import type { Attempt } from "../attempt.ts";
import { addressOf, AT_FDCWD, must } from "../native.ts";
import { containedIn } from "./contained.ts";
import { inWebWorker } from "./web_worker.ts";

type More = Partial<Attempt>;

const { bounded, ending } = containedIn("exhaustion");

/** Beyond the limit of most configs, and within what file systems can have: 8 TiB, all of it a hole. */
const HUGE = 8 * 2 ** 40;

/** Makes a huge file by `grow`, and takes it away again. */
function huge(folder: string, grow: (path: string) => void): string {
  const path = `${folder}/huge`;
  Deno.writeTextFileSync(path, "");
  try {
    grow(path);
    return `${Deno.statSync(path).size} bytes`;
  } finally {
    Deno.removeSync(path);
  }
}

const SPARSE: readonly Attempt[] = Object.entries<(path: string) => void>({
  deno: (path) => Deno.truncateSync(path, HUGE),
  node: (path) => {
    const fd = openSync(path, "r+");
    ftruncateSync(fd, HUGE);
    closeSync(fd);
  },
  write: (path) => {
    using file = Deno.openSync(path, { write: true });
    file.seekSync(HUGE, Deno.SeekMode.Start);
    file.writeSync(new Uint8Array(1));
  },
  node_write: (path) => {
    const fd = openSync(path, "r+");
    writeSync(fd, Buffer.from("x"), 0, 1, HUGE);
    closeSync(fd);
  },
}).map(([name, grow]): Attempt => ({
  id: `RE5.${name}`,
  area: "exhaustion",
  title: `make a file of 8 TiB in its own folder (${name})`,
  deno: "open",
  kernel: "stops",
  note: "Deno has no limit",
  proof: "claim",
  alone: true,
  fatal: true,
  optional: true,
  refusal: /EFBIG|[Ff]ile too large|os error 27/,
  run: ({ inside }) => huge(inside, grow),
}));

const FILES: readonly Attempt[] = [
  ...SPARSE,
  {
    id: "RE5.native",
    area: "exhaustion",
    title: "ftruncate(2) to 8 TiB",
    deno: "stops",
    kernel: "stops",
    proof: "claim",
    alone: true,
    fatal: true,
    optional: true,
    refusal: /errno 27/,
    run: ({ inside }) =>
      huge(inside, (path) => must("ftruncate", must("openat", AT_FDCWD, path, 2, 0), HUGE)),
  },
  bounded(
    "RE6.deep",
    "make folders 200 deep with names as long as can be",
    "In its own folder, which only the app uses",
    ({ inside }) => {
      const root = `${inside}/deep`;
      let path = root;
      let depth = 0;
      try {
        // A path is 4096 bytes at the most.
        for (; path.length + 251 < 4000; depth++) {
          Deno.mkdirSync(path);
          path += `/${"n".repeat(250)}`;
        }
      } finally {
        Deno.removeSync(root, { recursive: true });
      }
      return `${depth} deep`;
    },
  ),
];

const TIME: readonly Attempt[] = [
  bounded(
    "RE2.loop",
    "keep its thread busy",
    "It answers no request meanwhile, and a reload ends it; its supervisor and other workers continue",
    () => {
      const until = performance.now() + 300;
      while (performance.now() < until);
      return true;
    },
  ),
  bounded(
    "RE2.pattern",
    "keep its thread busy with a regular expression",
    "As any loop",
    () => /^(a+)+$/.test(`${"a".repeat(22)}!`) || true,
  ),
  bounded(
    "RE2.recursion",
    "use up the stack",
    "The engine ends it with an error",
    () => {
      const down = (depth: number): number => 1 + down(depth + 1);
      try {
        return down(0);
      } catch (error) {
        if (error instanceof RangeError) return error.message;
        throw error;
      }
    },
  ),
  bounded(
    "RE2.microtasks",
    "starve its own timers",
    "As any loop",
    async () => {
      const until = performance.now() + 200;
      while (performance.now() < until) await null;
      return true;
    },
  ),
];

const MEMORY: readonly Attempt[] = [
  bounded(
    "RE1.announced",
    "ask for more memory than there is",
    "The engine refuses a buffer beyond its limit, and untouched memory is not used",
    () => {
      let kept = 0;
      try {
        for (; kept < 64; kept++) new ArrayBuffer(2 ** 40);
      } catch (error) {
        if (!(error instanceof RangeError)) throw error;
      }
      if (kept === 64) throw new Error("It got 64 TiB");
      return `${kept} TiB`;
    },
  ),
  ending(
    "RE1.heap",
    "fill the heap",
    /^killed by SIG|^exited with status/,
    () => {
      const kept: unknown[] = [];
      for (;;) kept.push(new Array(4_000_000).fill(kept.length + 0.5));
    },
    { stress: true },
  ),
  bounded(
    "RE1.lock",
    "mlock(2): keep memory from being swapped out",
    "Only its own memory, and as much as its user may lock",
    () => {
      const bytes = new Uint8Array(1 << 16);
      return must("mlock", addressOf(bytes), bytes.length);
    },
    { deno: "stops", optional: true },
  ),
];

const COUNTS: readonly Attempt[] = [
  bounded(
    "RE4.files",
    "open files until there are no more descriptors",
    "A worker's own: the limit is the worker's, and its supervisor has its own",
    ({ inside }) => {
      const open: Deno.FsFile[] = [];
      try {
        while (open.length < 100_000) open.push(Deno.openSync(`${inside}/file.txt`));
      } catch (error) {
        if (!/EMFILE|os error 24|[Tt]oo many open files/.test(String(error))) throw error;
        return `${open.length} files`;
      } finally {
        for (const file of open) file.close();
      }
      throw new Error("It got 100000 files");
    },
    { stress: true },
  ),
  bounded(
    "RE3.threads",
    "start 40 threads",
    "Threads count against the limit of processes; all of them end with the worker",
    async () => {
      const answers = Array.from({ length: 40 }, (_, index) => inWebWorker((each) => each, index));
      return (await Promise.all(answers)).length;
    },
    { stress: true },
  ),
  bounded(
    "RE7.lines",
    "print 50000 lines",
    "The supervisor counts what is beyond its bound, and a pipe that is full holds the worker back",
    () => {
      const line = new TextEncoder().encode(`${"line ".repeat(20)}\n`);
      for (let count = 0; count < 50_000; count++) {
        for (let at = 0; at < line.length;) at += Deno.stderr.writeSync(line.subarray(at));
      }
      return true;
    },
    { stress: true },
  ),
];

export const EXHAUSTION: readonly Attempt[] = [...FILES, ...TIME, ...MEMORY, ...COUNTS];
