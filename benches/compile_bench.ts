/**
 * What a portable executable costs: its size, its first and its second start, and the time from HUP
 * to the first answer of new code. Prints figures.
 *
 *     deno run -A benches/compile_bench.ts [--rounds 5]
 */
import { parseArgs } from "@std/cli";
import { gunzipSync, gzipSync, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { buildPortable } from "../lib/compile/portable.ts";
import { until } from "../tests/harness/wait.ts";
import { Executable } from "../tests/harness/executable.ts";
import { copyGuestbook } from "../tests/harness/guestbook.ts";
import { countOf, medianOf, print, printTable } from "./figures.ts";

const args = parseArgs(Deno.args, { string: ["rounds"], default: { rounds: "5" } });
const rounds = countOf(args.rounds, "rounds");
const folder = await Deno.makeTempDir({ prefix: "holdfast_bench_" });

try {
  printPackers();
  await using project = await copyGuestbook();
  const build = async (name: string) => {
    await Deno.mkdir(`${folder}/${name}`);
    return await buildPortable({
      configFile: project.configFile,
      output: `${folder}/${name}/guestbook`,
    });
  };
  const one = await build("one");
  await project.change("views.tsx", "You were here.", "You were here again.");
  const two = await build("two");
  print(
    `\nSize ${mib(one.bytes)}: Deno ${mib(one.programBytes)}, the app ${mib(one.codeBytes)}. ` +
      `Built in ${one.ms} and ${two.ms} ms`,
  );

  const figures: Record<string, number[]> = {
    "first start, unpacking included, to serving": [],
    "second start, to serving": [],
    "--version of what is unpacked": [],
    "HUP to the first answer of new code": [],
    "HUP back to code that is unpacked": [],
  };
  const [first, second, version, ahead, back] = Object.values(figures);
  for (let round = 0; round < rounds; round++) {
    await using place = await Executable.place({ executable: one.output, isolation: "none" });
    const start = async (into: number[]) => {
      const startMs = performance.now();
      const running = await place.start();
      into.push(performance.now() - startMs);
      return running;
    };
    await (await start(first!)).stop();
    await using running = await start(second!);
    version!.push(await measure(() => place.run(["--version"])));
    for (
      const [file, text, into] of [
        [two.output, "You were here again.", ahead!],
        [one.output, "You were here.", back!],
      ] as const
    ) {
      await place.put(file);
      into.push(
        await measure(async () => {
          Deno.kill(running.pid, "SIGHUP");
          const url = `http://127.0.0.1:${place.port}/`;
          await until(
            "new code",
            async () =>
              (await (await fetch(url, { headers: { connection: "close" } })).text()).includes(
                text,
              ),
          );
        }),
      );
    }
  }
  printTable(
    Object.entries(figures).map(([what, ms]) => ({
      what,
      "median ms": Math.round(medianOf(ms)),
      "least ms": Math.round(Math.min(...ms)),
      "most ms": Math.round(Math.max(...ms)),
    })),
  );
} finally {
  await Deno.remove(folder, { recursive: true });
}

async function measure(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

/** Why gzip: what a packer saves in size, and what it costs at the first start. */
function printPackers(): void {
  const program = Deno.readFileSync(Deno.execPath());
  const time = <T>(work: () => T): [T, number] => {
    const startMs = performance.now();
    const value = work();
    return [value, Math.round(performance.now() - startMs)];
  };
  const rows = [
    { packer: "none", pack: (bytes: Uint8Array) => bytes, unpack: (bytes: Uint8Array) => bytes },
    { packer: "gzip -6", pack: (bytes: Uint8Array) => gzipSync(bytes), unpack: gunzipSync },
    {
      packer: "zstd -3",
      pack: (bytes: Uint8Array) => zstdCompressSync(bytes),
      unpack: zstdDecompressSync,
    },
  ].map(({ packer, pack, unpack }) => {
    const [packed, packMs] = time(() => pack(program));
    const [, unpackMs] = time(() => unpack(packed));
    return { packer, size: mib(packed.length), "pack ms": packMs, "unpack ms": unpackMs };
  });
  print("The deno program, packed");
  printTable(rows);
}
