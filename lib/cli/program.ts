/** What the command lines of executables have in common. */
import { parseArgs } from "@std/cli";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { printLine } from "./terminal.ts";

/** What help and version texts name. */
export interface ProgramFacts {
  readonly name: string;
  readonly versions: {
    readonly app: string | null;
    readonly holdfast: string;
    readonly deno: string;
  };
}

/** The versions of the app, of Holdfast and of Deno. */
export function describeVersions({ name, versions }: ProgramFacts): string {
  const { app, holdfast, deno } = versions;
  return `${name} ${app ?? "(no version)"} (holdfast ${holdfast}, deno ${deno})`;
}

/** Prints a text, and returns the exit status of success. */
export function say(text: string): number {
  printLine(text);
  return EXIT.ok;
}

/** Takes out the options of executables; the rest is parsed like any command line. */
export function takeOptions(args: readonly string[]) {
  const rest: string[] = [];
  const values: Partial<Record<"state" | "config", string>> = {};
  for (let index = 0; index < args.length; index++) {
    const argument = args[index]!;
    const [, name, given] = /^--(state|config)(?:=(.*))?$/s.exec(argument) ?? [];
    if (name === undefined) {
      rest.push(argument);
      continue;
    }
    const value = given ?? args[++index];
    if (value === undefined || value === "" || values[name as "state"] !== undefined) {
      throw new HoldfastError(`--${name} needs one ${name === "state" ? "folder" : "file"}`, {
        kind: "usage",
        code: "usage",
        hint: "See --help",
      });
    }
    values[name as "state"] = value;
  }
  const { help, version } = parseArgs(rest, {
    boolean: ["help", "version"],
    alias: { h: "help", V: "version" },
  });
  const wanted = help ? "help" : version ? "version" : "command";
  return { ...values, rest, wanted };
}
