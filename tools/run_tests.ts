/**
 * `deno task test` and `deno task test:deep`: runs one tier of the tests by `deno test`, and says at the
 * end what was skipped and why. Of a run that failed the log, the results as JUnit XML and the list
 * of processes are kept.
 */
import { parseArgs } from "@std/cli";
import { stripVTControlCharacters } from "node:util";
import { basename, join } from "node:path";
import { installHoldfast } from "../tests/harness/installation.ts";
import { type Skip, SKIPS_VARIABLE } from "../tests/harness/needs.ts";
import { INSTALLATION_VARIABLE, REPOSITORY } from "../tests/harness/project.ts";

const USAGE =
  `Usage: deno task test | deno task test:deep [--shard I/N] [--jobs N] [FILE or PART OF ITS NAME]...`;

/** The flags of `deno test` that every tier has. The gate checks the types before. */
const FLAGS = ["--no-prompt", "--no-check", "-A", "--sanitize-ops", "--sanitize-resources"];

/** How many test files of the fast tier run side by side: most of them wait for processes. */
const FAST_JOBS = 3;

/** What `ps` is asked after a run that failed. */
const PS_ARGS = ["ax", "-o", "pid,ppid,etimes,stat,rss,args", "--width", "200"];

interface Tier {
  readonly name: "fast" | "deep";
  readonly files: readonly string[];
  readonly jobs: number;
  /** What else `deno test` is given. */
  readonly more: readonly string[];
}

function* testFiles(folder: string): Generator<string> {
  const entries = [...Deno.readDirSync(join(REPOSITORY, folder))];
  for (const { name, isFile } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isFile && name.endsWith("_test.ts")) yield `${folder}/${name}`;
  }
}

/** The files of share `i` of `n`. */
function shardOf(files: readonly string[], shard: string | undefined): readonly string[] {
  if (shard === undefined) return files;
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(shard) ?? [];
  if (index === undefined || Number(index) < 1 || Number(index) > Number(count)) {
    throw new Error(`--shard ${shard}: wants I/N, such as 1/4`);
  }
  return files.filter((_, place) => place % Number(count) === Number(index) - 1);
}

function readTier(args: string[]): Tier {
  const unknown: string[] = [];
  const options = parseArgs(args, {
    string: ["shard", "jobs"],
    boolean: ["deep"],
    unknown: (argument, option) => {
      if (option !== undefined) unknown.push(argument);
      return option === undefined;
    },
  });
  if (unknown.length > 0) throw new Error(`Unknown option ${unknown[0]}\n${USAGE}`);
  const deep = options.deep === true;
  const folder = deep ? "tests/deep" : "tests";
  const parts = options._.map(String);
  const all = [...testFiles(folder)];
  const chosen = parts.length === 0
    ? all
    : all.filter((file) => parts.some((part) => file === part || basename(file).includes(part)));
  const files = shardOf(chosen, typeof options.shard === "string" ? options.shard : undefined);
  if (files.length === 0) throw new Error(`No test file in ${folder} fits ${args.join(" ")}`);
  return {
    name: deep ? "deep" : "fast",
    files,
    jobs: Number(options.jobs ?? (deep ? 1 : FAST_JOBS)),
    // Examples in comments are tests of the fast tier.
    more: deep || parts.length > 0 ? [] : ["--doc", "lib/"],
  };
}

/** Copies a stream to this terminal and into a file. */
async function tee(from: ReadableStream<Uint8Array>, log: Deno.FsFile): Promise<void> {
  for await (const chunk of from) {
    await Deno.stdout.write(chunk);
    await log.write(chunk);
  }
}

/** Runs them; what is kept lies in `folder`. */
async function runTests({ files, jobs, more }: Tier, folder: string): Promise<boolean> {
  const installation = join(folder, "holdfast");
  // It is run by other users too, who may not be let in to the folder of the repository.
  await Deno.chmod(folder, 0o711);
  await installHoldfast(installation);
  using log = await Deno.open(join(folder, "log"), { write: true, create: true });
  const parallel = jobs > 1 ? ["--parallel"] : [];
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "test",
      ...FLAGS,
      ...parallel,
      `--junit-path=${join(folder, "junit.xml")}`,
      ...more,
      ...files,
    ],
    cwd: REPOSITORY,
    env: {
      [INSTALLATION_VARIABLE]: installation,
      [SKIPS_VARIABLE]: join(folder, "skips"),
      DENO_JOBS: String(jobs),
    },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  await Promise.all([tee(child.stdout, log), tee(child.stderr, log)]);
  const { success } = await child.status;
  if (!success) await listProcesses(folder);
  await Deno.remove(installation, { recursive: true });
  return success;
}

/** What still runs when a test has failed may be why. */
async function listProcesses(folder: string): Promise<void> {
  try {
    const { stdout } = await new Deno.Command("ps", { args: PS_ARGS }).output();
    await Deno.writeFile(join(folder, "processes"), stdout);
  } catch {
    // Not every machine has ps.
  }
}

/** The last figures of the log: `deno test` ends with them. */
async function readFigures(
  folder: string,
): Promise<Record<"passed" | "failed" | "ignored", number>> {
  const text = await Deno.readTextFile(join(folder, "log"));
  const [last = ""] = stripVTControlCharacters(text).match(/^(ok|FAILED) \| .*$/gm)?.slice(-1) ??
    [];
  const figure = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(last)?.[1] ?? 0);
  return { passed: figure("passed"), failed: figure("failed"), ignored: figure("ignored") };
}

async function readSkips(folder: string): Promise<Skip[]> {
  const text = await Deno.readTextFile(join(folder, "skips")).catch(() => "");
  return text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
}

// deno-lint-ignore no-console
const say = console.log;

async function run(tier: Tier): Promise<number> {
  const startMs = performance.now();
  const folder = await Deno.makeTempDir({ prefix: `holdfast_${tier.name}_tests_` });
  const success = await runTests(tier, folder);
  const { passed, failed, ignored } = await readFigures(folder);
  const skips = await readSkips(folder);
  say(`\n${tier.name} tests: ${tier.files.length} files, ${seconds(startMs)} s`);
  if (skips.length > 0) {
    say(`Skipped:\n${skips.map(({ name, why }) => `  ${name}: ${why}`).join("\n")}`);
  }
  // A test that ignores itself without a reason would be an unnoticed gap.
  const unexplained = Math.max(0, ignored - skips.length);
  if (unexplained > 0) say(`${unexplained} tests were ignored and give no reason`);
  if (success) await Deno.remove(folder, { recursive: true });
  else say(`Log, results and processes are kept in ${folder}`);
  const ok = success && passed > 0 && unexplained === 0;
  say(`${passed} passed, ${failed} failed, ${ignored} skipped`);
  return ok ? 0 : 1;
}

function seconds(startMs: number): number {
  return Math.round((performance.now() - startMs) / 1000);
}

try {
  Deno.exit(await run(readTier(Deno.args)));
} catch (error) {
  say((error as Error).message);
  Deno.exit(64);
}
