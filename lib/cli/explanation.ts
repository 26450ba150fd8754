/** A policy in words: what each process may do, and which layer sees to it. Pure. */
import type { Config } from "../config/config.ts";
import { LEAST_ABI, missingIn, type PathRule } from "../sandbox/landlock.ts";
import { workerArguments, workerEnvironment } from "../sandbox/worker_command.ts";
import { type Wall, type WallFacts, workerWall } from "../sandbox/wall.ts";

/** One thing that a process may do. */
export interface Rule {
  readonly process: "supervisor" | "worker";
  readonly may: string;
  readonly what: readonly string[];
  /** The layers that hold it to that. */
  readonly by: string;
}

export interface Explanation {
  /** The worker's command line. */
  readonly command: readonly string[];
  readonly rules: readonly Rule[];
  /** What was asked of the kernel, and what of it this one lacks, a line each. */
  readonly kernel: readonly string[];
}

/** What an explanation depends on besides the config. */
export interface ExplainFacts extends WallFacts {
  readonly denoDir: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Explains a config on a machine. */
export function explainPolicy(config: Config, facts: ExplainFacts): Explanation {
  const wall = config.wall === "kernel" ? workerWall(config, facts) : undefined;
  return {
    command: [facts.denoProgram, ...workerArguments(config)],
    rules: [...supervisorRules(config, facts), ...workerRules(config, facts, wall)],
    kernel: kernelLines(config, facts.abi),
  };
}

function supervisorRules(config: Config, { denoProgram }: ExplainFacts): Rule[] {
  const rule = (may: string, ...what: string[]): Rule => ({
    process: "supervisor",
    may,
    what,
    by: "Deno",
  });
  return [
    rule("read", "everything its user may read, to check the config"),
    rule("write", config.runtime),
    rule("listen", ...config.listen.map(({ text }) => text)),
    rule("run", denoProgram),
    rule("call", "the C library, by the functions in lib/os"),
  ];
}

function workerRules(config: Config, facts: ExplainFacts, wall: Wall | undefined): Rule[] {
  const both = (layer: string) => wall ? `Deno, ${layer}` : "Deno";
  const rule = (may: string, what: readonly string[], by: string): Rule => ({
    process: "worker",
    may,
    what: what.length > 0 ? what : ["nothing"],
    by,
  });
  const paths = (letter: string) =>
    config.unveil.filter(({ rights }) => rights.includes(letter)).map(({ path }) => path);
  const names = Object.keys(workerEnvironment(config, facts.environment, facts.denoDir));
  const user = config.account
    ? `uid ${config.account.uid}, gid ${config.account.gid}`
    : "whoever starts Holdfast";
  return [
    rule("be", [user], "the kernel"),
    rule("read", paths("r"), both("Landlock")),
    rule("write", paths("w"), both("Landlock")),
    rule("create", paths("c"), both("Landlock")),
    ...wall ? [rule("load", machinePaths(config, wall), "Landlock")] : [],
    rule("dial", config.net, both("Landlock by port, seccomp")),
    rule("accept", config.listen.map(({ text }) => text), "handed over by the supervisor"),
    rule("run", [], both("seccomp asks the supervisor")),
    rule("signal", [], both("seccomp, Landlock")),
    rule("see", names, "it is made from nothing"),
    ...wall
      ? [rule("use up", wall.limits.map(({ name, value }) => `${name}: ${value}`), "rlimits")]
      : [],
  ];
}

/** What the runtime itself reads; Deno's own permissions do not give it to the app. */
function machinePaths({ unveil }: Config, { landlock }: Wall): string[] {
  const granted = new Set(unveil.map(({ path }) => path));
  const letters = ({ rights }: PathRule) =>
    [["readFile", "r"], ["writeFile", "w"], ["execute", "x"]]
      .filter(([right]) => (rights as readonly string[]).includes(right!))
      .map(([, letter]) => letter).join("");
  return landlock.paths.filter(({ path }) => !granted.has(path))
    .map((rule) => `${rule.path} ${letters(rule)}`);
}

function kernelLines({ wall }: Config, abi: number): string[] {
  if (wall === "deno") return ["The kernel's wall is not asked for: native code is not held back."];
  if (abi < LEAST_ABI) {
    return [`The kernel's wall is asked for, and this machine has none (Landlock ABI ${abi}).`];
  }
  return [
    `The kernel's wall: no_new_privs, Landlock ABI ${abi}, seccomp, limits, a process group of its own.`,
    ...missingIn(abi).map((missing) => `Not ruled by this kernel's Landlock: ${missing}`),
  ];
}
