/** `holdfast man`: the man page, made from the table of commands. */
import { EXIT } from "../base/exit_code.ts";
import { VERSION } from "../base/version.ts";
import type { CliCommand } from "./command.ts";
import { COMMANDS, EXIT_STATUSES, OPTIONS, optionsOf, spell } from "./manual.ts";
import { printLine } from "./terminal.ts";

/** Prints it. */
export const man: CliCommand = () => {
  printLine(manPage());
  return Promise.resolve(EXIT.ok);
};

/** The page, in the macros of man(7). */
export function manPage(): string {
  const commands = Object.entries(COMMANDS).flatMap(([name, { takes, does, more, example }]) => [
    `.SS ${escaped(takes === undefined ? name : `${name} ${takes}`)}`,
    textLine(`${does}.${more === undefined ? "" : ` ${more}`}`),
    ...optionsOf(name).filter((option) => COMMANDS[name]!.options?.includes(option))
      .flatMap(describeOption),
    ".PP",
    ".EX",
    textLine(`  ${example}`),
    ".EE",
  ]);
  const common = Object.keys(OPTIONS).filter((option) => optionsOf("help").includes(option));
  return [
    `.TH HOLDFAST 1 "" "holdfast ${VERSION}" "Holdfast"`,
    ".SH NAME",
    "holdfast \\- a privilege\\-separated, zero\\-downtime server for Deno",
    ".SH SYNOPSIS",
    ".B holdfast",
    ".I COMMAND",
    "[options]",
    ".SH DESCRIPTION",
    textLine(
      "Holdfast serves an app in a process that may do what its config lists, and nothing else. It reloads code " +
        "and config without losing a connection.",
    ),
    ".SH COMMANDS",
    ...commands,
    ".SH OPTIONS",
    "Those of every command:",
    ...common.flatMap(describeOption),
    ".SH SIGNALS",
    ...SIGNALS.flatMap(([signal, does]) => [".TP", `.B ${escaped(signal)}`, textLine(does)]),
    ".SH EXIT STATUS",
    ...EXIT_STATUSES.flatMap(([status, means]) => [".TP", `.B ${status}`, textLine(means)]),
    ".SH FILES",
    ".TP",
    ".I ./holdfast.jsonc",
    "The config.",
    ".TP",
    ".I ./.holdfast/",
    "The runtime folder: control socket, lock, images of what is served.",
  ].join("\n");
}

/** Those that the supervisor listens to. */
const SIGNALS = [
  ["HUP", "Reload code and config, and reopen the log files."],
  ["USR2", "Upgrade: also replace the supervisor's own program."],
  ["TERM, INT", "Drain and exit; a second one cuts the open connections."],
] as const;

function describeOption(option: string): string[] {
  return [".TP", `.B ${escaped(spell(option))}`, textLine(OPTIONS[option]!.does)];
}

/** A line of text, which no macro may begin. */
function textLine(text: string): string {
  return escaped(text).replace(/^[.']/, "\\&$&");
}

function escaped(text: string): string {
  return text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq")
    .replaceAll('"', "\\(dq").replaceAll("~", "\\(ti").replaceAll("^", "\\(ha")
    .replaceAll("`", "\\(ga");
}
