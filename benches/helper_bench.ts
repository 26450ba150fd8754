/**
 * What it costs to have a job done in another process: calls of a helper from a worker of a real
 * Holdfast, against the same handler called in the worker itself, and against a bare echo over a Unix
 * socket between two processes. All are measured in turn, in one run. Then a photo of 20 MB: how long
 * it takes there and back, and how much memory either process needs for it at the peak.
 *
 *     deno run -A benches/helper_bench.ts [--rounds 5] [--seconds 1]
 */
import { parseArgs } from "@std/cli";
import { plainHelper, TELLING_APP } from "../tests/harness/helpers.ts";
import { tell } from "../tests/harness/obeying_app.ts";
import { Server } from "../tests/harness/server.ts";
import { BareEcho } from "./bare_echo.ts";
import { countOf, medianOf, print, printTable } from "./figures.ts";

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds"],
  default: { rounds: "5", seconds: "1" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

const PHOTO_BYTES = 20_000_000;

/** What is sent there and comes back, and how many at once. */
const KINDS = [
  { name: "a number", bytes: 8, atOnce: 1 },
  { name: "a number, 16 at once", bytes: 8, atOnce: 16 },
  { name: "64 KiB", bytes: 64 * 1024, atOnce: 1 },
  { name: "1 MiB", bytes: 1024 * 1024, atOnce: 1 },
] as const;
type Kind = typeof KINDS[number];

await using server = await Server.start({
  files: {
    "app.ts": `import job from "./job.ts";\nglobalThis.own = job;\n${TELLING_APP}`,
    "job.ts": plainHelper(),
  },
  config: { helpers: { job: { module: "./job.ts" } } },
});
await using bare = await BareEcho.start();

const rows = [];
for (const kind of KINDS) {
  const perSecond: Record<"helper" | "own" | "bare", number[]> = { helper: [], own: [], bare: [] };
  for (let round = 0; round < rounds; round++) {
    perSecond.own.push(await measureCalls("own.echo.handle(value, {})", kind));
    perSecond.helper.push(await measureCalls("helper('job').echo(value)", kind));
    perSecond.bare.push(await bare.measure({ ...kind, seconds }));
  }
  const medians = {
    helper: medianOf(perSecond.helper),
    own: medianOf(perSecond.own),
    bare: medianOf(perSecond.bare),
  };
  rows.push({
    kind: kind.name,
    "helper/s": Math.round(medians.helper),
    "in process/s": Math.round(medians.own),
    "bare socket/s": Math.round(medians.bare),
    "helper MB/s": (medians.helper * 2 * kind.bytes / 1e6).toFixed(1),
    "to in process": (medians.helper / medians.own).toPrecision(2),
    "to bare socket": (medians.helper / medians.bare).toFixed(2),
  });
}
print(`\nRound trips a second, median of ${rounds} rounds of ${seconds} s each, in turn`);
printTable(rows);

const photos = [];
for (let round = 0; round < rounds; round++) photos.push(await measurePhoto());
print(`\nA photo of ${PHOTO_BYTES / 1e6} MB there and back, median of ${rounds}`);
printTable([{
  "helper ms": medianOf(photos.map(({ ms }) => ms)).toFixed(1),
  "bare socket ms": medianOf(await bare.measurePhotos(rounds)).toFixed(1),
  "photos in the worker at the peak": medianOf(photos.map(({ worker }) => worker)).toFixed(1),
  "photos in the helper at the peak": medianOf(photos.map(({ helper }) => helper)).toFixed(1),
}]);

async function measureCalls(call: string, { bytes, atOnce }: Kind): Promise<number> {
  const { ok, message } = await tell(
    server,
    `
    const value = ${bytes === 8 ? 1 : `new Uint8Array(${bytes}).fill(7)`};
    const endMs = performance.now() + ${seconds * 1000};
    let count = 0;
    await Promise.all(Array.from({ length: ${atOnce} }, async () => {
      for (; performance.now() < endMs; count++) await ${call};
    }));
    return count / ${seconds};
    `,
  );
  if (typeof ok === "number") return ok;
  throw new Error(`Cannot measure ${call}: ${message}`);
}

/** How long a photo takes, and how many of its size each process holds at the peak. */
async function measurePhoto(): Promise<{ ms: number; worker: number; helper: number }> {
  const { generations } = await server.status();
  const { workers, helpers } = generations[0]!;
  const pids = [workers[0]!.process!.pid, helpers[0]!.process!.pid];
  const beforeKib = pids.map((pid) => {
    // The peak is counted from here on (proc(5)).
    Deno.writeTextFileSync(`/proc/${pid}/clear_refs`, "5");
    return memoryKib(pid, "VmRSS");
  });
  const { ok } = await tell(
    server,
    `
    const photo = new Uint8Array(${PHOTO_BYTES}).fill(7);
    const startMs = performance.now();
    const back = await helper("job").echo({ photo });
    const ms = performance.now() - startMs;
    if (back.photo.length !== photo.length) throw new Error("a short photo");
    return ms;
    `,
  );
  const [inWorker, inHelper] = pids.map((pid, index) =>
    (memoryKib(pid, "VmHWM") - beforeKib[index]!) * 1024 / PHOTO_BYTES
  );
  return { ms: ok as number, worker: inWorker!, helper: inHelper! };
}

function memoryKib(pid: number, field: "VmRSS" | "VmHWM"): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(new RegExp(`^${field}:\\s*(\\d+)`, "m").exec(text)![1]);
}
