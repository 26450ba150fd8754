/**
 * What commands cost that are run by hand: processor time and waiting, from the sources and from the npm
 * package's bundles, with the guestbook's config. Prints figures.
 *
 *     deno run -A benches/cli_bench.ts [--rounds 5]
 */
import { parseArgs } from "@std/cli";
import { join } from "node:path";
import { REPOSITORY } from "../tests/harness/project.ts";
import { packNpm } from "../tools/pack_npm.ts";
import { countOf, medianOf, printTable } from "./figures.ts";

const { rounds: given } = parseArgs(Deno.args, { string: ["rounds"], default: { rounds: "5" } });
const rounds = countOf(given, "rounds");
const folder = await Deno.makeTempDir({ prefix: "holdfast_bench_" });
const config = join(REPOSITORY, "examples/guestbook/holdfast.jsonc");

/** What the children of this process have used that have ended, by proc_pid_stat(5). */
function childrenMs(): number {
  const fields = Deno.readTextFileSync("/proc/self/stat").replace(/^.*\) /s, "").split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}

/** Runs a command some times: processor time of all its processes, and the median of the waits. */
async function measure(words: readonly string[]) {
  const run = async () => {
    const startMs = performance.now();
    await new Deno.Command(Deno.execPath(), {
      ...{ args: ["run", "--quiet", "--no-prompt", "-A", ...words], stdin: "null" },
    }).output();
    return performance.now() - startMs;
  };
  await run();
  const before = childrenMs();
  const waits: number[] = [];
  for (let left = rounds; left > 0; left--) waits.push(await run());
  return {
    "processor ms": Math.round((childrenMs() - before) / rounds),
    "waited ms": Math.round(medianOf(waits)),
  };
}

try {
  await packNpm(folder);
  const ways: Record<string, string[]> = {
    source: [join(REPOSITORY, "main.ts")],
    package: [
      ...["--no-config", "--no-lock", "--no-npm", "--no-remote", "--no-code-cache"],
      join(folder, "lib/supervisor/main.js"),
    ],
  };
  const rows: Record<string, unknown> = {};
  for (const [way, words] of Object.entries(ways)) {
    for (const command of ["--help", "--version", "status", "check", "explain"]) {
      const named = command.startsWith("--") ? [] : ["--config", config];
      rows[`${way} ${command}`] = await measure([...words, command, ...named]);
    }
  }
  printTable(rows);
} finally {
  await Deno.remove(folder, { recursive: true });
}
