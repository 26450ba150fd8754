/**
 * Requests per second over a Unix socket as a ratio to those over TCP on the native engine: all are measured
 * in turn, and the median of the rounds' ratios is printed. Needs `h2load` (Debian's nghttp2-client).
 *
 *     deno run -A benches/unix_bench.ts [--rounds 5] [--seconds 2]
 */
import { parseArgs } from "@std/cli";
import { countOf, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { type Kind, KINDS, measure } from "./load_tool.ts";

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds"],
  default: { rounds: "5", seconds: "2" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

/** HTTP/1.1 with keep-alive, from a tool that knows Unix sockets. */
function over(name: string, more: readonly string[]): Kind {
  const { parse } = KINDS.find((kind) => kind.name === "h2c")!;
  const command: Kind["command"] = (url, seconds) => {
    return ["h2load", "--h1", "-c16", `-D${seconds}`, ...more, url];
  };
  return { name, command, parse };
}

await using stack = new AsyncDisposableStack();
const [native, node] = await Promise.all(
  (["native", "node"] as const).map(async (engine) =>
    stack.use(await HoldfastProcess.start({ engine, beside: ["unix:./http.sock"] }))
  ),
);
const subjects = [
  { kind: over("TCP, native", []), target: native!.target },
  { kind: over("TCP, node", []), target: node!.target },
  {
    kind: over("Unix socket", [`-Bunix:${native!.folder}/http.sock`]),
    target: "localhost",
  },
];
const ratios = new Map(subjects.map(({ kind }) => [kind.name, [] as number[]]));
for (let round = 0; round < rounds; round++) {
  const measured = new Map<string, number>();
  for (const { kind, target } of round % 2 === 0 ? subjects : subjects.toReversed()) {
    measured.set(kind.name, (await measure(kind, target, seconds)).perSecond);
  }
  const base = measured.get(subjects[0]!.kind.name)!;
  for (const [name, perSecond] of measured) ratios.get(name)!.push(perSecond / base);
}
print(`\nHTTP/1.1 to TCP on the native engine, median of ${rounds} rounds of ${seconds} s`);
printTable([...ratios].map(([over, all]) => ({
  over,
  ratio: medianOf(all).toFixed(2),
  least: Math.min(...all).toFixed(2),
  most: Math.max(...all).toFixed(2),
})));
