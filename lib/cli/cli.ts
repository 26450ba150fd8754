/** Runs the command that was named, and turns errors into a message and an exit status. */
import { parseArgs } from "@std/cli";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { VERSION } from "../base/version.ts";
import { spelledPath } from "../config/spelled_path.ts";
import { resetSignals } from "../os/signals.ts";
import { realSystem, type System } from "../supervisor/system.ts";
import type { CliCommand } from "./command.ts";
import { printFailure } from "./failure.ts";
import { printLine } from "./terminal.ts";

/** Loads a command; its code is loaded only when it runs. */
export type CommandLoader = () => Promise<CliCommand>;

// The paths are literals, so that bundlers and `deno compile` see them.
const COMMANDS: Record<string, CommandLoader> = {
  start: async () => (await import("./start.ts")).start,
  check: async () => (await import("./check.ts")).check,
  explain: async () => (await import("./explain.ts")).explain,
  audit: async () => (await import("./audit.ts")).audit,
  reload: async () => (await import("./reload.ts")).reload,
  upgrade: async () => (await import("./upgrade.ts")).upgrade,
  releases: async () => (await import("./releases.ts")).releases,
  rollback: async () => (await import("./rollback.ts")).rollback,
  stop: async () => (await import("./stop.ts")).stop,
  status: async () => (await import("./status.ts")).status,
  top: async () => (await import("./top.ts")).top,
  "logs reopen": async () => (await import("./logs.ts")).reopenLogs,
};

const HELP = `holdfast ${VERSION}: a privilege-separated, zero-downtime server for Deno

Usage: holdfast COMMAND [--config FILE]

Commands
  start        Serve in the foreground; HUP reloads, USR2 upgrades, TERM and INT drain and exit
  check        Validate the config and the app's modules without starting
  explain      Show what each process may do under the config, and which layer enforces it
  audit        Try every known escape from every process; exits 1 if anything gets through
  reload       Reload code and config; exits 1 if the new version is rejected
  upgrade      Also replace the supervisor's own program, in the same process; exits 1 if rejected
  releases     List the versions that served last
  rollback [N] Bring one of them back; without N, the one that served before
  stop         Drain and stop the running supervisor, and wait for it
  status       Show processes and generations
  top          Live view of processes; press q to quit
  logs reopen  Reopen log files (after logrotate)
  compile      Build one executable file from the app and its config

Options
  --config FILE   The config (default: ./holdfast.jsonc)
  --json          status, releases, explain, audit: print JSON
  --markdown      audit: print the result as docs/audit.md
  --only IDS      audit: only these attempts, such as FR1,EX4.shell
  --stress        audit: also the attempts that exhaust the machine's resources
  --output FILE   compile: the executable to write
  --name NAME     compile: the app's name in it (default: name of the config, or of its folder)
  --portable      compile: include the deno program in the file
  --state DIR     compile: folder that the file and its data will be in (default: of --output)
  --help, -h      Print this
  --version, -V   Print the version

Exit status
  0   done
  1   reload or upgrade refused, or the audit failed
  2   status: no worker serves, or crash loop: workers keep exiting soon after they start
  64  wrong usage
  69  not running
  70  a bug in Holdfast
  71  refused by the machine: a port is taken, a folder is not writable
  75  the app did not start
  78  the config is wrong`;

/** Commands that only ask a supervisor do not need this permission. */
function mayCallLibc(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

function usageError(message: string): HoldfastError {
  return new HoldfastError(message, {
    kind: "usage",
    code: "usage",
    hint: "See holdfast --help",
  });
}

/** What differs between the programs that have this command line. */
export interface CliOptions {
  /** What the commands call. */
  readonly system?: System;
  /** Additional commands. */
  readonly more?: Readonly<Record<string, CommandLoader>>;
}

/** Runs the command that `args` name and returns the exit status. */
export async function runCli(args: string[], options: CliOptions = {}): Promise<number> {
  try {
    return await dispatch(args, options);
  } catch (error) {
    return printFailure(error);
  }
}

async function dispatch(
  args: string[],
  { system = realSystem, more: extra = {} }: CliOptions,
): Promise<number> {
  const commands: Record<string, CommandLoader> = { ...COMMANDS, ...extra };
  const unknown: string[] = [];
  const parsed = parseArgs(args, {
    string: ["config", "only", "output", "name", "state", "rehearse"],
    boolean: ["json", "markdown", "stress", "portable", "help", "version"],
    alias: { h: "help", V: "version" },
    default: { config: "holdfast.jsonc" },
    unknown: (argument, option) => {
      if (option === undefined) return true;
      unknown.push(argument);
      return false;
    },
  });
  if (parsed.help) {
    printLine(HELP);
    return EXIT.ok;
  }
  if (parsed.version) {
    printLine(`holdfast ${VERSION} (deno ${Deno.version.deno})`);
    return EXIT.ok;
  }
  if (unknown.length > 0) throw usageError(`Unknown option ${unknown[0]}`);
  const [first, ...others] = parsed._;
  if (first === undefined) throw usageError("No command given");
  // The only command of two words.
  const [name, more] = first === "logs"
    ? [`logs ${others[0] ?? ""}`, others.slice(1)]
    : [first, others];
  const release = first === "rollback" ? parseRelease(more.shift()) : undefined;
  const load = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (!load) throw usageError(`Unknown command ${name}`);
  if (more.length > 0) throw usageError(`Unexpected argument ${more[0]}`);
  const { config, json, markdown, stress } = parsed;
  if (typeof config !== "string" || config === "") throw usageError("--config needs one file");
  const command = await load();
  // `start` does it when it listens to signals.
  if (name !== "start" && mayCallLibc()) resetSignals();
  return await command({
    config: spelledPath(config),
    json: json === true,
    markdown: markdown === true,
    only: textOf(parsed.only),
    stress: stress === true,
    portable: parsed.portable === true,
    state: textOf(parsed.state),
    rehearse: typeof parsed.rehearse === "string" ? parsed.rehearse : undefined,
    output: textOf(parsed.output),
    name: textOf(parsed.name),
    release,
    system,
  });
}

/** The number of a release, as `holdfast releases` has it. */
function parseRelease(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw usageError(`rollback wants the number of a release, not ${text}`);
}

/** An option's text, if there is one. */
function textOf(option: unknown): string | undefined {
  return typeof option === "string" && option !== "" ? option : undefined;
}
