/**
 * The command `holdfast` of the npm package, which Node runs: it finds the deno program that npm has
 * installed, works out what the supervisor is to be allowed, and starts Holdfast with that.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parse } from "jsonc-parser";

/** The package's own folder: this lies in its folder `bin`. */
const FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));

const MAIN = join(FOLDER, "lib/supervisor/main.js");

/** These build, write where they are told, or set up a world of their own; they serve nobody. */
const TRUSTED = ["audit", "check", "compile", "dev", "explain", "init"];

/** What Deno reads of the environment that would change which code runs, or how. */
const FOREIGN = /^(DENO_(CONFIG|NO_PACKAGE_JSON|V8_FLAGS)|NODE_OPTIONS)$/;

/** Ends with what a user can do; 71 is what the machine refuses. */
function fail(message: string, hint: string): never {
  process.stderr.write(`holdfast: ${message}\n  hint: ${hint}\n`);
  process.exit(71);
}

/** The deno program of the npm package `deno`, or the one that HOLDFAST_DENO names. */
function findDeno(): string {
  const named = process.env.HOLDFAST_DENO;
  if (named) return resolve(named);
  try {
    const require = createRequire(import.meta.url);
    return realpathSync(require("deno/install_api.cjs").runInstall());
  } catch (error) {
    return fail(
      `npm has installed no deno program for this machine: ${(error as Error).message}`,
      "Install without --omit=optional, or set HOLDFAST_DENO to a deno program",
    );
  }
}

/** The value of an option that takes one. */
function optionOf(args: readonly string[], name: string): string | undefined {
  const at = args.findIndex((each) => each === name || each.startsWith(`${name}=`));
  return at < 0
    ? undefined
    : args[at]!.includes("=")
    ? args[at]!.slice(name.length + 1)
    : args[at + 1];
}

/** The runtime folder: the only one that the supervisor writes. What is wrong there, it says itself. */
function runtimeOf(args: readonly string[]): string {
  const file = resolve(optionOf(args, "--config") || "holdfast.jsonc");
  try {
    const real = realpathSync(file);
    const { runtime } = parse(readFileSync(real, "utf8"), [], { allowTrailingComma: true }) ?? {};
    const place = resolve(dirname(real), typeof runtime === "string" ? runtime : ".holdfast");
    const above = dirname(place);
    return existsSync(above) ? join(realpathSync(above), basename(place)) : place;
  } catch {
    return resolve(dirname(file), ".holdfast");
  }
}

/** The flags of the supervisor; a comma ends a path in them, unless it is doubled. */
function flagsOf(args: readonly string[], deno: string): string[] {
  if (TRUSTED.includes(args.find((each) => !each.startsWith("-")) ?? "")) return ["--allow-all"];
  const [runtime, program] = [runtimeOf(args), deno].map((path) => path.replaceAll(",", ",,"));
  return [
    ...["--allow-read", `--allow-write=${runtime}`, "--allow-net", `--allow-run=${program}`],
    ...["--allow-env", "--allow-ffi", "--allow-sys=uid"],
  ];
}

const args = process.argv.slice(2);
const deno = findDeno();
const words = [
  // All of it is in the package: no settings, registry or cache of the app's has a part in it.
  ...["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-npm", "--no-remote"],
  ...["--no-code-cache", ...flagsOf(args, deno), MAIN, ...args],
];
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !FOREIGN.test(name)),
) as Record<string, string>;
environment.DENO_NO_UPDATE_CHECK = "1";

type Execve = (file: string, args: readonly string[], env: Record<string, string>) => never;
const { execve } = process as unknown as { readonly execve?: Execve };
// Node 22.15 and later become the supervisor; older ones stay beside it and pass signals on.
if (execve !== undefined && process.platform === "linux") {
  execve(deno, [deno, ...words], environment);
}
const child = spawn(deno, words, { stdio: "inherit", env: environment });
const PASSED = ["SIGHUP", "SIGINT", "SIGTERM", "SIGUSR2"] as const;
for (const signal of PASSED) process.on(signal, () => child.kill(signal));
// Node would open its inspector.
process.on("SIGUSR1", () => {});
child.on("error", (error) => fail(`Cannot start ${deno}: ${error.message}`, "See that it may run"));
child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code ?? 1);
  for (const each of PASSED) process.removeAllListeners(each);
  process.kill(process.pid, signal);
});
