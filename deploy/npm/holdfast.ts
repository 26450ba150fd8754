/**
 * The command `holdfast` of the npm package, which Node runs: it finds the deno program that npm has
 * installed, works out what the supervisor is to be allowed, and starts Holdfast with that.
 */
import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { flagsOf, NAME_HINT } from "./flags.ts";

/** The package's own folder: this lies in its folder `bin`. */
const FOLDER = dirname(dirname(fileURLToPath(import.meta.url)));

const MAIN = join(FOLDER, "lib/supervisor/main.js");

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

function findFlags(args: readonly string[], deno: string): string[] {
  try {
    return flagsOf(args, deno);
  } catch (error) {
    return fail((error as Error).message, NAME_HINT);
  }
}

const args = process.argv.slice(2);
const deno = findDeno();
const words = [
  // All of it is in the package: no settings, registry or cache of the app's has a part in it.
  ...["run", "--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-npm", "--no-remote"],
  ...["--no-code-cache", ...findFlags(args, deno), MAIN, ...args],
];
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !FOREIGN.test(name)),
) as Record<string, string>;
environment.DENO_NO_UPDATE_CHECK = "1";
// For doctor.
environment.HOLDFAST_NODE = process.version;

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
