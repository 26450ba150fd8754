/** Runs the command that was named, and turns errors into a message and an exit status. */
import { parseArgs } from "@std/cli";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { VERSION } from "../base/version.ts";
import { nearestName } from "../config/nearest.ts";
import { spelledPath } from "../config/spelled_path.ts";
import { resetSignals } from "../os/signals.ts";
import type { System } from "../supervisor/system.ts";
import type { AskingCommand, CliCommand } from "./command.ts";
import { COMMANDS, helpOf, helpText, OPTIONS, optionsOf, SHORT } from "./manual.ts";
import { printFailure } from "./failure.ts";
import { printLine } from "./terminal.ts";

/** Loads a command; its code is loaded only when it runs. */
export type CommandLoader = () => Promise<CliCommand>;

// The paths are literals, so that bundlers and `deno compile` see them.
const LOADERS: Record<string, CommandLoader> = {
  init: async () => (await import("./init.ts")).init,
  start: async () => (await import("./start.ts")).start,
  check: async () => (await import("./check.ts")).check,
  why: async () => (await import("./why.ts")).why,
  explain: async () => (await import("./explain.ts")).explain,
  learn: async () => (await import("./learn.ts")).learn,
  unused: async () => (await import("./unused.ts")).unused,
  diff: async () => (await import("./diff.ts")).diff,
  audit: async () => (await import("./audit.ts")).audit,
  completion: async () => (await import("./completion.ts")).completion,
  man: async () => (await import("./man.ts")).man,
  logs: async () => (await import("./logs.ts")).logs,
  doctor: async () => (await import("./doctor.ts")).doctor,
  "service install": async () => (await import("./service.ts")).install,
  "service remove": async () => (await import("./service.ts")).remove,
};

/** Those that only ask a supervisor: nothing of it is loaded for them. */
const ASKERS: Record<string, () => Promise<AskingCommand>> = {
  reload: async () => (await import("./reload.ts")).reload,
  upgrade: async () => (await import("./upgrade.ts")).upgrade,
  releases: async () => (await import("./releases.ts")).releases,
  rollback: async () => (await import("./rollback.ts")).rollback,
  stop: async () => (await import("./stop.ts")).stop,
  status: async () => (await import("./status.ts")).status,
  top: async () => (await import("./top.ts")).top,
  "logs reopen": async () => (await import("./logs_reopen.ts")).reopenLogs,
};

/** Commands that only ask a supervisor do not need this permission. */
function mayCallLibc(): boolean {
  return Deno.permissions.querySync({ name: "ffi" }).state === "granted";
}

function usageError(message: string, hint = "See holdfast --help"): HoldfastError {
  return new HoldfastError(message, { kind: "usage", code: "usage", hint });
}

/** For one who has mistyped a name. */
function didYouMean(name: string, known: readonly string[]): string {
  const near = nearestName(name, known);
  return near === undefined ? "See holdfast --help" : `Did you mean ${near}? See holdfast --help`;
}

function unknownCommand(name: string, known: readonly string[]): HoldfastError {
  return usageError(`Unknown command ${quoted(name)}`, didYouMean(name, known));
}

/** As it is, or so that it is seen where it begins and ends. */
function quoted(word: string): string {
  return /^[\w./:-]+$/.test(word) ? word : JSON.stringify(word);
}

/** Options that Holdfast gives to itself, and the commands that have them. */
const HIDDEN: Readonly<Record<string, string>> = { rehearse: "start", supervise: "dev" };

/** @throws {HoldfastError} for an option that a command does not have, or a value that an option does not take */
function requireOptions(name: string, args: readonly string[]): void {
  const end = args.indexOf("--");
  for (const arg of end < 0 ? args : args.slice(0, end)) {
    const short = Object.keys(SHORT).find((name) => SHORT[name] === arg);
    const [, option = short, value] = /^--([\w-]+)(=.*)?$/s.exec(arg) ?? [];
    if (option === undefined || HIDDEN[option] === name) continue;
    const facts = Object.hasOwn(OPTIONS, option) ? OPTIONS[option]! : undefined;
    if (facts === undefined) throw usageError(`Unknown option --${option}`);
    if (!optionsOf(name).includes(option)) {
      throw usageError(`${name} has no option --${option}`, `See holdfast ${name} --help`);
    }
    if (facts.value === undefined && value !== undefined) {
      throw usageError(`--${option} takes no value`, `See holdfast ${name} --help`);
    }
  }
}

/** @throws {HoldfastError} if an option was given without its value, or more than once */
function requireValue(option: string, found: unknown): void {
  const { value, does, optional = false } = OPTIONS[option]!;
  if (found === undefined || typeof found === "string" && (found !== "" || optional)) return;
  throw usageError(
    `--${option} needs one ${value!.toLowerCase()}`,
    `--${option} ${value}: ${does}; see holdfast --help`,
  );
}

/** What differs between the programs that have this command line. */
export interface CliOptions {
  /** Loads what the commands call; help and the version need none of it. */
  readonly loadSystem?: () => Promise<System>;
  /** Whether the program has its app in itself. */
  readonly hasApp?: boolean;
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
  {
    loadSystem = async () => (await import("../supervisor/system.ts")).realSystem,
    hasApp = false,
    more: extra = {},
  }: CliOptions,
): Promise<number> {
  const loaders: Record<string, CommandLoader> = { ...LOADERS, ...extra };
  const commands = [...Object.keys(loaders), ...Object.keys(ASKERS), "help"];
  const unknown: string[] = [];
  const parsed = parseArgs(args.map(withEmptyValue), {
    string: [...namesOfOptions(true), "rehearse"],
    boolean: [...namesOfOptions(false), "supervise"],
    alias: Object.fromEntries(Object.entries(SHORT).map(([name, short]) => [short.slice(1), name])),
    default: { config: "holdfast.jsonc" },
    unknown: (argument, option) => {
      if (option === undefined) return true;
      unknown.push(argument);
      return false;
    },
  });
  if (parsed.version) {
    printLine(`holdfast ${VERSION} (deno ${Deno.version.deno})`);
    return EXIT.ok;
  }
  const [first, ...others] = parsed._;
  if (first === "help" || parsed.help) {
    const words = first === "help" ? others : parsed._;
    return printHelp(words, commands);
  }
  if (unknown.length > 0) {
    const [option = ""] = unknown[0]!.split("=");
    const known = Object.keys(OPTIONS).map((name) => `--${name}`);
    throw usageError(`Unknown option ${unknown[0]}`, didYouMean(option, known));
  }
  if (first === undefined) throw usageError("No command given");
  const [name, more] = nameOf(first, others);
  const load = Object.hasOwn(loaders, name) ? loaders[name] : undefined;
  const loadAsker = Object.hasOwn(ASKERS, name) ? ASKERS[name] : undefined;
  if (!load && !loadAsker) throw unknownCommand(name, commands);
  requireOptions(name, args);
  const takesFile = COMMANDS[name]?.takes === "[FILE]" && !hasApp;
  const app = takesFile ? more.shift() : undefined;
  const release = name === "rollback" ? parseRelease(more.shift()) : undefined;
  const question = name === "why" ? more.shift() : undefined;
  const subject = name === "completion" ? more.shift() : undefined;
  if (more.length > 0) {
    throw usageError(`Unexpected argument ${quoted(more[0]!)}`, `See holdfast ${name} --help`);
  }
  for (const option of namesOfOptions(true)) requireValue(option, parsed[option]);
  if (app === "") throw usageError("The name of the app is empty", `See holdfast ${name} --help`);
  const { json, markdown, stress } = parsed;
  // `start` does it when it listens to signals.
  if (name !== "start" && mayCallLibc()) resetSignals();
  const asked = {
    config: spelledPath(String(parsed.config)),
    app,
    json: json === true,
    wide: parsed.wide === true,
    all: parsed.all === true,
    markdown: markdown === true,
    only: textOf(parsed.only),
    sarif: parsed.sarif === true,
    quick: parsed.quick === true,
    stress: stress === true,
    portable: parsed.portable === true,
    self: parsed.self === true,
    verify: parsed.verify === true,
    widen: parsed.widen === true,
    yes: parsed.yes === true,
    apply: parsed.apply === true,
    requests: textOf(parsed.requests),
    since: textOf(parsed.since),
    state: textOf(parsed.state),
    user: textOf(parsed.user),
    print: parsed.print === true,
    socket: parsed.socket === true,
    now: parsed.now === true,
    rehearse: typeof parsed.rehearse === "string" ? parsed.rehearse : undefined,
    output: textOf(parsed.output),
    name: textOf(parsed.name),
    helper: textOf(parsed.helper),
    log: textOf(parsed.log),
    logs: {
      follow: parsed.follow === true,
      process: textOf(parsed.process),
      level: textOf(parsed.level),
      event: textOf(parsed.event),
      request: textOf(parsed.request),
      since: textOf(parsed.since),
      lines: textOf(parsed.lines),
    },
    development: {
      wall: textOf(parsed.wall),
      inspect: typeof parsed.inspect === "string" ? parsed.inspect : undefined,
      open: textOf(parsed.open),
      supervised: parsed.supervise === true,
    },
    ...{ question, release, subject },
  };
  if (load) return await (await load())({ ...asked, system: await loadSystem() });
  // An executable's runtime folder is its own to find.
  const system = hasApp ? await loadSystem() : await import("../config/runtime_place.ts");
  return await (await loadAsker!())({ ...asked, system });
}

/** A command may be two words; what follows `logs` is one of them. */
function nameOf(first: string, others: readonly string[]): [name: string, more: string[]] {
  const isFirst = Object.keys(COMMANDS).some((name) => name.startsWith(`${first} `));
  const [second, ...more] = others;
  return isFirst && second !== undefined ? [`${first} ${second}`, more] : [first, [...others]];
}

/** What follows an option whose value may be left out is not its value. */
function withEmptyValue(arg: string): string {
  const [, option = ""] = /^--([\w-]+)$/.exec(arg) ?? [];
  return Object.hasOwn(OPTIONS, option) && OPTIONS[option]!.optional ? `${arg}=` : arg;
}

function namesOfOptions(withValue: boolean): string[] {
  return Object.keys(OPTIONS).filter((name) => (OPTIONS[name]!.value !== undefined) === withValue);
}

/** Prints what is to be known of a command, or of all. */
function printHelp(words: readonly string[], commands: readonly string[]): number {
  const [first = "", second = ""] = words;
  const names = Object.keys(COMMANDS).filter((name) =>
    name === first || name === `${first} ${second}`
  );
  // Of a command of two words the first one may be all that is asked.
  const pairs = Object.keys(COMMANDS).filter((name) => name.startsWith(`${first} `));
  const found = names.length > 0 ? names : first === "" ? [] : pairs;
  if (first === "") printLine(helpText());
  else if (found.length > 0) printLine(found.map(helpOf).join("\n\n"));
  else throw unknownCommand(first, commands);
  return EXIT.ok;
}

/** The number of a release, as `holdfast releases` has it. */
function parseRelease(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw usageError(`rollback wants the number of a release, not ${quoted(text)}`);
}

/** An option's text, if there is one. */
function textOf(option: unknown): string | undefined {
  return typeof option === "string" && option !== "" ? option : undefined;
}
