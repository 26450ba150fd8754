/**
 * Requests per second of Holdfast with one and with two workers, and of `deno serve --parallel` with
 * the same app: all run at once and are measured in turn. Needs `wrk`.
 *
 *     deno run -A benches/parallel_bench.ts [--rounds 5] [--seconds 2]
 */
import { parseArgs } from "@std/cli";
import { fileURLToPath } from "node:url";
import { sleep } from "../tests/load/wait.ts";
import { countOf, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { type Kind, measure, wrk } from "./load_tool.ts";
import { freePort } from "../tests/harness/ports.ts";

const APP = fileURLToPath(new URL("../tests/load/app.ts", import.meta.url));
const START_MS = 20_000;

const KINDS: Kind[] = [
  wrk("keep-alive, 64 connections", ["-c64"]),
  wrk("connection per request, 16 at a time", ["-c16", "-H", "Connection: close"]),
];

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds"],
  default: { rounds: "5", seconds: "2" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

/** `deno serve` in as many threads. */
class DenoServe implements AsyncDisposable {
  readonly port = freePort();
  readonly #child: Deno.ChildProcess;

  constructor(threads: number) {
    const parallel = threads > 1 ? ["--parallel"] : [];
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["serve", "-A", "--no-lock", ...parallel, `--port=${this.port}`, APP],
      env: { DENO_JOBS: String(threads) },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  get target(): string {
    return `127.0.0.1:${this.port}`;
  }

  async serves(): Promise<this> {
    const endMs = performance.now() + START_MS;
    while (performance.now() < endMs) {
      const answer = await fetch(`http://${this.target}/`).catch(() => undefined);
      await answer?.body?.cancel();
      if (answer?.ok) return this;
      await sleep(50);
    }
    throw new Error(`deno serve does not answer after ${START_MS} ms`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
  }
}

await using stack = new AsyncDisposableStack();
const subjects: { name: string; target: string }[] = [];
for (const threads of [1, 2]) {
  const { target } = await stack.use(new DenoServe(threads)).serves();
  subjects.push({
    name: threads === 1 ? "deno serve" : "deno serve --parallel, 2 threads",
    target,
  });
}
for (const workers of [1, 2]) {
  const { target } = stack.use(await HoldfastProcess.start({ config: { workers } }));
  subjects.push({ name: `holdfast, ${workers} worker${workers > 1 ? "s" : ""}`, target });
}

const rows: Record<string, string | number>[] = [];
for (const kind of KINDS) {
  const perSecond = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
  let failed = 0;
  for (let round = 0; round < rounds; round++) {
    // The order turns, so that none is always measured on the hotter machine.
    for (const { name, target } of round % 2 === 0 ? subjects : subjects.toReversed()) {
      const measured = await measure(kind, target, seconds);
      perSecond.get(name)!.push(measured.perSecond);
      failed += measured.failed;
    }
  }
  const parallel = perSecond.get(subjects[1]!.name)!;
  for (const [name, figures] of perSecond) {
    const ratios = figures.map((figure, round) => figure / parallel[round]!);
    rows.push({
      load: kind.name,
      server: name,
      "answers/s": Math.round(medianOf(figures)),
      "to --parallel": medianOf(ratios).toFixed(2),
      "failed in all": failed,
    });
  }
}
print(
  `\nMedian of ${rounds} rounds of ${seconds} s, on ${navigator.hardwareConcurrency} processors`,
);
printTable(rows);
