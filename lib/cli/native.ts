/** The command line of an executable that `deno compile` made. */
import { basename, dirname, join, resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { realPlace } from "../config/real_place.ts";
import { OVERRIDABLE } from "../config/override.ts";
import { DESCRIBE, type NativeFacts, STEERING_VARIABLES } from "../protocol/native.ts";
import { nativeSystem } from "../supervisor/native_system.ts";
import { runCli } from "./cli.ts";
import { describeVersions, say, takeOptions } from "./program.ts";
import { printFailure } from "./failure.ts";

function describeUse({ name, versions, state, executable }: NativeFacts): string {
  return `${name} ${versions.app ?? "(no version)"}: an app in one file, made by Holdfast

Usage: ${name} COMMAND [--config FILE]

Commands
  start        Serve in the foreground; HUP reloads, TERM and INT drain and exit
  check        Validate the config without starting
  explain      Show what each process may do, and which layer enforces it
  reload       Reload from the file that is there now, and its config; exits 1 if rejected
  releases     List the versions that served last
  rollback [N] Bring one of them back as a reload does; the file stays as it is
  upgrade      Also replace the supervisor's own program, in the same process; exits 1 if rejected
  stop         Drain and stop the running supervisor, and wait for it
  status       Show processes and generations
  top          Live view of processes; press q to quit
  logs reopen  Reopen log files (after logrotate)

Options
  --config FILE   A config that may change ${OVERRIDABLE.join(", ")}
                  (default: ${basename(executable)}.jsonc beside this file, if it exists)
  --json          status, explain: print JSON
  --help, -h      Print this
  --version, -V   Print the versions of the app, of Holdfast and of Deno

Its permissions are built in. Its data is in ${state}.`;
}

/**
 * Runs the command that the arguments name, and returns the exit status.
 *
 * @param facts what is built into the executable
 */
export async function runNative(facts: NativeFacts, args: readonly string[]): Promise<number> {
  try {
    if (args.length === 1 && args[0] === DESCRIBE) return say(JSON.stringify(facts));
    const { config, state, rest, wanted } = takeOptions(args);
    if (wanted === "help") return say(describeUse(facts));
    if (wanted === "version") return say(describeVersions(facts));
    refuseWidening(facts, { state, rest });
    const { executable } = facts;
    const beside = join(dirname(executable), `${basename(executable)}.jsonc`);
    const system = nativeSystem(
      facts,
      config === undefined
        ? { file: beside, wanted: "optional", args }
        : { file: resolve(config), wanted: "required", args },
    );
    return await runCli([...rest, "--config", executable], {
      loadSystem: () => Promise.resolve(system),
      hasApp: true,
    });
  } catch (error) {
    return printFailure(error);
  }
}

/** Refuses options and variables that would change what this program may do. */
function refuseWidening(
  { executable, interpreter, state: own }: NativeFacts,
  { state, rest }: { state: string | undefined; rest: readonly string[] },
): void {
  const refuse = (found: string, hint: string) => {
    throw new HoldfastError(found, { kind: "usage", code: "built_in", hint });
  };
  const flag = rest.find((each) =>
    /^(-A$|--(allow|deny|ignore|unstable|v8|permission)\b)/.test(each)
  );
  if (flag !== undefined) {
    refuse(
      `${flag} would change this program's permissions, which are built in`,
      "Leave it out, or change the config and build again",
    );
  }
  if (state !== undefined) {
    refuse(
      `--state ${state}: the folder of this program's data is built in: ${own}`,
      "Leave it out, or build for that folder: compile --state DIR",
    );
  }
  if (rest.includes("audit")) {
    refuse(
      "This program cannot audit itself: it has no permission to set up the processes and files of an audit",
      "Run holdfast audit in the source tree, or build with --portable",
    );
  }
  const variable = STEERING_VARIABLES.find((name) => Deno.env.has(name));
  if (variable !== undefined) {
    refuse(
      `${variable} is set, and would change what this program runs`,
      `Start it without: env -u ${variable} ${executable}`,
    );
  }
  const found = interpreter === null ? realPlace(Deno.execPath()) : executable;
  if (found !== realPlace(executable)) {
    refuse(
      `This program was built for ${executable}, and is at ${found}`,
      "Move it there, or build for this folder: compile --state DIR",
    );
  }
}
