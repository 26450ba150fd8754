/** The command line of a portable executable. */
import { cp } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { OVERRIDABLE } from "../config/override.ts";
import { IMAGE_FOLDERS, type ImageFacts, readImage } from "../supervisor/image.ts";
import { packedSystem } from "../supervisor/packed_system.ts";
import { runCli } from "./cli.ts";
import { describeVersions, say, takeOptions } from "./program.ts";
import { printError } from "./terminal.ts";

/** What the program says of itself. */
function describeUse({ name, versions }: ImageFacts): string {
  return `${name} ${versions.app ?? "(no version)"}: an app in one file, made by Holdfast

Usage: ${name} COMMAND [--state DIR] [--config FILE]

Commands
  start        Serve in the foreground; HUP reloads, TERM and INT drain and exit
  check        Validate the config without starting
  explain      Say what each process may do, and which layer sees to it
  audit        Try to escape from a worker in every known way; 1 if anything gets through
  reload       Bring in what lies there now, program and config, and wait for the outcome
  upgrade      The same, with the supervisor and Deno; USR2 does it too
  stop         Drain and end the running supervisor, and wait for it
  status       Show processes and generations
  logs reopen  Open the log files anew, after logrotate has renamed them

Options
  --state DIR     Where data, logs and the control socket are (default: where this program lies)
  --config FILE   A config that may change ${OVERRIDABLE.join(", ")}
                  (default: ${name}.jsonc beside this program, if it is there)
  --json          status, explain, audit: print JSON
  --stress        audit: also make the attempts that use up what the machine has
  --help, -h      Print this
  --version, -V   Print the versions of the app, of Holdfast and of Deno

HOLDFAST_CACHE is the folder that it unpacks to (default: holdfast in the user's cache folder).`;
}

/**
 * Runs the command that the arguments name, and returns the exit status.
 *
 * @param args the image's folder, the executable and the state folder, which the header gives; then
 * the user's
 */
export async function runPacked([image, executable, state, ...args]: string[]): Promise<number> {
  try {
    if (image === undefined || executable === undefined || state === undefined) {
      throw new Error("The header gave no places");
    }
    const { facts } = await readImage(image);
    const { config, rest, wanted } = takeOptions(args);
    if (wanted === "help") return say(describeUse(facts));
    if (wanted === "version") return say(describeVersions(facts));
    const system = await packedSystem({
      ...{ image, executable, state, args },
      override: config === undefined
        ? join(dirname(executable), `${basename(executable)}.jsonc`)
        : resolve(config),
      overrideWanted: config === undefined ? "optional" : "required",
    });
    const options = [...rest, "--config", join(image, facts.config)];
    if (!rest.includes("audit")) return await runCli(options, { system });
    await using caches = await CopiedCaches.make(image);
    const findDenoDir = () => Promise.resolve(caches.folder);
    return await runCli(options, { system: { ...system, findDenoDir } });
  } catch (error) {
    const failure = toHoldfastError(error);
    printError(failure);
    return EXIT[failure.kind];
  }
}

/**
 * The caches of an image, copied for an audit: some of its suspects have no wall, and their runtimes
 * cache what they compile. The image must stay as it was unpacked.
 */
class CopiedCaches implements AsyncDisposable {
  readonly folder: string;

  constructor(folder: string) {
    this.folder = folder;
  }

  static async make(image: string): Promise<CopiedCaches> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_audit_" }));
    await cp(join(image, IMAGE_FOLDERS.denoDir), folder, { recursive: true });
    return new CopiedCaches(folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}
