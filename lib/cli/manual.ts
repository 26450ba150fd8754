/** The commands and options, said once: for help, for docs/cli.md, and for who mistypes them. */
import { VERSION } from "../base/version.ts";
import { fill, fillLines } from "./fill.ts";

/** Help is for any terminal. */
const WIDTH = 80;

/** What a shell offers for a value: files, words, or what a kind of `holdfast completion KIND` prints. */
export type Completion = "files" | "folders" | Asked | readonly string[];

/** What depends on the config, or on what runs. */
export const ASKED = ["commands", "helpers", "processes", "releases", "attempts"] as const;
export type Asked = typeof ASKED[number];

export const SHELLS = ["bash", "zsh", "fish"] as const;

/** What a command does, and how it is called. */
export interface CommandFacts {
  /** What follows its name. */
  readonly takes?: string;
  /** What can be there. */
  readonly completes?: Completion;
  readonly does: string;
  /** What is to be known besides, in sentences. */
  readonly more?: string;
  readonly example: string;
  /** Its options, besides `--config`. */
  readonly options?: readonly string[];
}

const LEVELS = ["debug", "info", "warn", "error", "critical"];

const WITHOUT_CONFIG = "FILE is an app that has no config: it is granted nothing, and served on " +
  "127.0.0.1, at the port of the variable PORT or else 8000, with ./.holdfast as the runtime folder.";

export const COMMANDS: Readonly<Record<string, CommandFacts>> = {
  init: {
    does: "Write a config for the project in this folder, or a new app into an empty one",
    example: "holdfast init --yes",
    options: ["yes"],
  },
  start: {
    takes: "[FILE]",
    completes: "files",
    does: "Serve in the foreground; HUP reloads, USR2 upgrades, TERM and INT drain and exit",
    more: WITHOUT_CONFIG + " A reload takes a config that has come since.",
    example: "holdfast start --config /srv/app/holdfast.jsonc",
  },
  dev: {
    takes: "[FILE]",
    does: "Serve while the code is written: a saved file is brought in, and pages load it",
    more:
      "It watches the app's modules, its config and what it may only read, and reloads as a server " +
      "in production does: a version that fails changes nothing but what the terminal and the page say. " +
      "It has a runtime folder of its own, ./.holdfast-dev, and serves on 127.0.0.1 alone. Ctrl-C ends " +
      "it. " + WITHOUT_CONFIG.replace(/, with .*$/, "."),
    example: "holdfast dev --wall deno",
    options: ["wall", "inspect", "open"],
  },
  check: {
    takes: "[FILE]",
    completes: "files",
    does: "Validate the config and the app's modules without starting",
    more: WITHOUT_CONFIG,
    example: "holdfast check && holdfast reload",
  },
  explain: {
    takes: "[FILE]",
    completes: "files",
    does: "Show what each process may do under the config, and which layer enforces it",
    more:
      "By itself it reads the config alone, and fits a screen; whether a start would be refused is for " +
      "check to say. " + WITHOUT_CONFIG,
    example: "holdfast explain --all",
    options: ["all", "wide", "json"],
  },
  why: {
    takes: "[QUESTION]",
    does: "List what was refused; or say whether something is allowed, and by which line",
    more:
      "A question is path:PATH, net:HOST:PORT, env:NAME or sys:NAME. Without one, it lists the " +
      "refusals in the log file of the config, the newest last, each with how often it came. Either exits 0.",
    example: "holdfast why net:api.example.com:443 --helper mailer",
    options: ["helper", "log", "wide", "json"],
  },
  learn: {
    takes: "[FILE]",
    does: "Propose the narrowest config, from what the app is refused while it is used",
    more:
      "The app runs behind its wall, on a port and in a runtime folder of its own; what it is refused " +
      "is granted to it there, and it is started again, until it asks for no more. It writes its real " +
      "data. Without --requests you use the app, and end with Ctrl-C. FILE is an app that has no config.",
    example: "holdfast learn --requests requests.txt --apply",
    options: ["requests", "apply", "json"],
  },
  unused: {
    does: "List what is granted and was not used, from the log",
    more: "The processes themselves say what they use. It reads the log files of the config, the " +
      "rotated ones too.",
    example: "holdfast unused --since 30d",
    options: ["since", "log", "json"],
  },
  audit: {
    does: "Try every known escape from every process; exits 1 if anything gets through",
    more:
      "It prints what got through, and what is contained: what may happen within a known bound. On a " +
      "terminal a bar says how far it is.",
    example: "holdfast audit --quick --sarif > audit.sarif",
    options: ["quick", "only", "stress", "all", "wide", "json", "markdown", "sarif"],
  },
  reload: {
    does: "Reload code and config; exits 1 if the new version is rejected",
    example: "holdfast reload || echo 'the old version still serves'",
    options: ["widen"],
  },
  diff: {
    does: "Show what a reload would change: modules, packages, and what the config grants",
    more: "+ comes, - goes, ~ is another one. It compares with the release that served last.",
    example: "holdfast diff",
    options: ["json"],
  },
  upgrade: {
    does: "Also replace the supervisor's own program, in the same process; exits 1 if rejected",
    example: "holdfast upgrade",
  },
  releases: {
    does: "List the versions that served last",
    example: "holdfast releases --json",
    options: ["json", "verify"],
  },
  rollback: {
    takes: "[N]",
    completes: "releases",
    does: "Bring one of them back; without N, the one that served before",
    example: "holdfast rollback 3",
  },
  stop: {
    does: "Drain and stop the running supervisor, and wait for it",
    example: "holdfast stop",
  },
  status: {
    does: "Show processes and generations",
    more: "Exits 2 if no worker serves, and 69 if no supervisor runs.",
    example: "holdfast status > /dev/null || alert",
    options: ["wide", "json"],
  },
  top: { does: "Live view of processes; press q to quit", example: "holdfast top" },
  logs: {
    does: "Show the events of the log, as a person reads them",
    more:
      "Without --since and --lines, the last 100 of those that are asked for; with --follow, those that " +
      "come too, whatever rotates the file. --process takes worker, worker.2, a helper's name, logger, supervisor, " +
      "or a process id; --request, what the app logs as requestId, reqId or traceId, or has in a text.",
    example: "holdfast logs -f --process worker --level warn",
    options: ["follow", "process", "level", "event", "request", "since", "lines", "log", "json"],
  },
  doctor: {
    does: "Look at this machine for what would be in the way, and say what mends it",
    more:
      "It runs nothing of the project, and changes nothing. Exits 1 if there is a fault; a warning " +
      "is a risk, a note is worth knowing.",
    example: "holdfast doctor --config /srv/shop/holdfast.jsonc",
    options: ["json"],
  },
  "service install": {
    does: "Write a unit for systemd, and what goes with it, for this config",
    more:
      "Root starts it then, and each process has an account of its own; with --user all of it is that " +
      "user's, who is made if not there. It starts nothing without --now, and writes over no file of others.",
    example: "holdfast service install --config /srv/shop/holdfast.jsonc --now",
    options: ["name", "user", "socket", "print", "now"],
  },
  "service remove": {
    does: "Remove the files that service install has written; data and users stay",
    example: "holdfast service remove --name shop --now",
    options: ["name", "now"],
  },
  "logs reopen": {
    does: "Reopen log files (after logrotate)",
    example: "holdfast logs reopen",
  },
  compile: {
    does: "Build one executable file from the app and its config",
    example: "holdfast compile --portable --output guestbook",
    options: ["output", "name", "portable", "state", "self"],
  },
  completion: {
    takes: "SHELL",
    completes: SHELLS,
    does: "Print what makes bash, zsh or fish complete commands, options and their values",
    more:
      "For bash: source <(holdfast completion bash), in ~/.bashrc. For zsh: a file _holdfast in a folder of " +
      "$fpath. For fish: ~/.config/fish/completions/holdfast.fish.",
    example: "holdfast completion fish > ~/.config/fish/completions/holdfast.fish",
  },
  man: {
    does: "Print the man page",
    example: "holdfast man | man -l -",
  },
  help: {
    takes: "[COMMAND]",
    completes: "commands",
    does: "Print this, or what is to be known of a command",
    example: "holdfast help why",
  },
};

/** An option: its value, if it has one, and what it does. */
interface OptionFacts {
  readonly value?: string;
  readonly completes?: Completion;
  /** Whether the value may be left out; it follows a `=` then. */
  readonly optional?: boolean;
  readonly does: string;
}

export const OPTIONS: Readonly<Record<string, OptionFacts>> = {
  config: { value: "FILE", completes: "files", does: "The config (default: ./holdfast.jsonc)" },
  yes: { does: "Ask nothing" },
  json: { does: "Print JSON" },
  all: { does: "All that there is" },
  wide: { does: "All columns, also where they do not fit" },
  follow: { does: "Go on with those that come, until Ctrl-C" },
  process: { value: "NAME", completes: "processes", does: "Only events about that process" },
  level: {
    value: "LEVEL",
    completes: LEVELS,
    does: "Only debug, info, warn, error or critical, and what is worse",
  },
  event: { value: "NAMES", does: "Only events of these names, such as worker_lost,reload_*" },
  request: { value: "ID", does: "Only what was logged about that request" },
  since: { value: "TIME", does: "Only from then on: 90s, 10m, 2h, 1d, or 2026-11-29T14:00Z" },
  lines: { value: "NUMBER", does: "At most so many of those that are there" },
  helper: {
    value: "NAME",
    completes: "helpers",
    does: "Ask for that helper instead of the workers",
  },
  log: { value: "FILE", completes: "files", does: "Read that log file, or - for standard input" },
  requests: {
    value: "FILE",
    completes: "files",
    does: "Replay these: GET /path a line, JSON, or an access log",
  },
  apply: { does: "Write what is proposed into the config; its comments stay" },
  wall: {
    value: "LAYER",
    completes: ["kernel", "deno"],
    does: "kernel or deno (default: as the config says)",
  },
  inspect: {
    value: "HOST:PORT",
    optional: true,
    does: "Let a debugger in to the worker (default: 127.0.0.1:9229); needs --wall deno",
  },
  open: {
    value: "CHOICE",
    completes: ["yes", "no"],
    does: "Show the page in a browser: yes or no (default: on a screen)",
  },
  widen: { does: "Also if it grants more than what serves, where the config says ask" },
  verify: { does: "Read all of each image, and see whether it is what was put there" },
  markdown: { does: "Print the result as docs/audit.md" },
  sarif: { does: "Print SARIF 2.1.0, for CI" },
  quick: { does: "Some attempts of every area, in seconds" },
  only: { value: "IDS", completes: "attempts", does: "Only these attempts, such as FR1,EX4.shell" },
  stress: { does: "Also the attempts that exhaust the machine's resources" },
  output: { value: "FILE", completes: "files", does: "The executable to write" },
  name: {
    value: "NAME",
    does: "The name of the app or service (default: of the config, or of its folder)",
  },
  user: { value: "USER", does: "The user of all its processes, in place of root and accounts" },
  socket: { does: "systemd binds the addresses of the config" },
  print: { does: "Print the files, and write none" },
  now: { does: "Also start it, or stop it" },
  portable: { does: "Include the deno program in the file" },
  self: { does: "Build Holdfast itself, without an app: the file holdfast, for every app" },
  state: {
    value: "DIR",
    completes: "folders",
    does: "Folder that the file and its data will be in (default: of --output)",
  },
  help: { does: "Print this" },
  version: { does: "Print the version" },
};

/** Options that are for all commands. */
const COMMON = ["config", "help", "version"];
export const SHORT: Readonly<Record<string, string>> = { follow: "-f", help: "-h", version: "-V" };

export const EXIT_STATUSES: readonly (readonly [number, string])[] = [
  [0, "done"],
  [1, "reload or upgrade refused, the audit failed, or doctor found a fault"],
  [2, "status: no worker serves, or crash loop: workers keep exiting soon after they start"],
  [64, "wrong usage"],
  [69, "not running"],
  [70, "a bug in Holdfast"],
  [71, "refused by the machine: a port is taken, a folder is not writable"],
  [75, "the app did not start"],
  [78, "the config is wrong"],
];

/** The help text. */
export function helpText(): string {
  return `holdfast ${VERSION}: a privilege-separated, zero-downtime server for Deno

Usage: holdfast COMMAND [--config FILE]

Commands
${lines(Object.entries(COMMANDS).map(([name, { takes, does }]) => [callOf(name, takes), does]))}

Options
${lines(Object.entries(OPTIONS).map(([name, { does }]) => [spell(name), whose(name) + does]))}

Exit status
${lines(EXIT_STATUSES.map(([status, means]) => [String(status), means]))}

holdfast help COMMAND says more of a command.`;
}

/** What is to be known of one command. */
export function helpOf(name: string): string {
  const { takes, does, more, example, options = [] } = COMMANDS[name]!;
  const words = [...options.map((each) => `[${spell(each)}]`), "[--config FILE]"];
  return [
    fillLines(`${does}.`, WIDTH),
    ...more === undefined ? [] : [fillLines(more, WIDTH)],
    "",
    // What stands in brackets stays together.
    fill(`Usage: holdfast ${callOf(name, takes)}`, words, "  "),
    "",
    "Options",
    lines(optionsOf(name).map((each) => [spell(each), OPTIONS[each]!.does])),
    "",
    "Example",
    `  ${example}`,
  ].join("\n");
}

/** docs/cli.md. */
export function cliManual(): string {
  const commands = Object.keys(COMMANDS).map((name) =>
    `## ${name}\n\n\`\`\`\n${helpOf(name)}\n\`\`\`\n`
  );
  return [
    "# Commands",
    "",
    "<!-- Written by deno task schema from lib/cli/manual.ts. -->",
    "",
    "The exit statuses are those of [README.md](../README.md#commands).",
    "",
    commands.join("\n"),
  ].join("\n");
}

/** The options that a command has. */
export function optionsOf(name: string): readonly string[] {
  return [...COMMANDS[name]?.options ?? [], ...COMMON];
}

function callOf(name: string, takes: string | undefined): string {
  return takes === undefined ? name : `${name} ${takes}`;
}

/** An option, its value and its short form. */
export function spell(option: string): string {
  const { value, optional } = OPTIONS[option]!;
  const short = SHORT[option];
  if (optional) return `--${option}[=${value}]`;
  return `--${option}${value === undefined ? "" : ` ${value}`}${short ? `, ${short}` : ""}`;
}

/** The commands that an option is for, as they stand before what it does. */
function whose(option: string): string {
  if (COMMON.includes(option)) return "";
  const commands = Object.keys(COMMANDS).filter((name) =>
    COMMANDS[name]!.options?.includes(option)
  );
  return `${commands.join(", ")}: `;
}

function lines(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([first]) => first.length)) + 2;
  const indent = " ".repeat(width + 2);
  return rows.map(([first, second]) => {
    const [start, ...words] = second.split(" ");
    return fill(`  ${first.padEnd(width)}${start}`, words, indent);
  }).join("\n");
}
