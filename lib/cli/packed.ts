/** The command line of a portable executable. */
import { basename, dirname, join, resolve } from "node:path";
import { OVERRIDABLE } from "../config/override.ts";
import { packedSystem } from "../supervisor/packed_system.ts";
import { readUnpacked, type UnpackedFacts } from "../supervisor/unpacked.ts";
import { runCli } from "./cli.ts";
import { describeVersions, say, takeOptions } from "./program.ts";
import { printFailure } from "./failure.ts";

/** The help text. */
function describeUse({ name, versions }: UnpackedFacts, file: string): string {
  return `${name} ${versions.app ?? "(no version)"}: an app in one file, made by Holdfast

Usage: ${name} COMMAND [--state DIR] [--config FILE]

Commands
  start        Serve in the foreground; HUP reloads, TERM and INT drain and exit
  check        Validate the config without starting
  explain      Show what each process may do, and which layer enforces it
  audit        Try every known escape from every process; exits 1 if anything gets through
  reload       Reload from the file that is there now, and its config; exits 1 if rejected
  releases     List the versions that served last
  rollback [N] Bring one of them back as a reload does; the file stays as it is
  upgrade      Also replace the supervisor and Deno, as USR2 does; exits 1 if rejected
  stop         Drain and stop the running supervisor, and wait for it
  status       Show processes and generations
  top          Live view of processes; press q to quit
  logs         Show the events of the log; -f goes on with those that come
  logs reopen  Reopen log files (after logrotate)

Options
  --state DIR     Folder of data, logs and the control socket (default: of this file)
  --config FILE   A config that may change ${OVERRIDABLE.join(", ")}
                  (default: ${file}.jsonc beside this file, if it exists)
  --json          status, explain, audit: print JSON
  --stress        audit: also the attempts that exhaust the machine's resources
  --help, -h      Print this
  --version, -V   Print the versions of the app, of Holdfast and of Deno

HOLDFAST_CACHE is the folder it unpacks to (default: holdfast in the user's cache folder).`;
}

/**
 * Runs the command that the arguments name, and returns the exit status.
 *
 * @param args the folder to which it was unpacked, the executable and the state folder, which the header gives; then
 * the user's
 */
export async function runPacked([unpacked, executable, state, ...args]: string[]): Promise<number> {
  try {
    if (unpacked === undefined || executable === undefined || state === undefined) {
      throw new Error("The header gave no paths");
    }
    const { facts } = await readUnpacked(unpacked);
    const { config, rest, wanted } = takeOptions(args);
    if (wanted === "help") return say(describeUse(facts, basename(executable)));
    if (wanted === "version") return say(describeVersions(facts));
    const system = await packedSystem({
      ...{ unpacked, executable, state, args },
      override: config === undefined
        ? join(dirname(executable), `${basename(executable)}.jsonc`)
        : resolve(config),
      overrideWanted: config === undefined ? "optional" : "required",
    });
    return await runCli([...rest, "--config", join(unpacked, facts.config)], {
      loadSystem: () => Promise.resolve(system),
      hasApp: true,
    });
  } catch (error) {
    return printFailure(error);
  }
}
