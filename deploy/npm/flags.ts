/** What a supervisor is to be allowed, which runs on Node or Deno. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parse } from "jsonc-parser";
import { NAME_HINT, supervisorFlags } from "../../lib/service/start_command.ts";
import { OPTIONS } from "../../lib/cli/manual.ts";

/** These build, write where they are told, or set up a world of their own; they serve nobody. */
const TRUSTED = [
  ...["audit", "check", "compile", "dev", "doctor", "explain", "init", "learn", "service"],
];

export { NAME_HINT };

/** The command that arguments name: the first of them that is no option, and no option's value. */
function commandOf(args: readonly string[]): string | undefined {
  const takesValue = (each = "") =>
    each.startsWith("--") && Object.hasOwn(OPTIONS, each.slice(2)) &&
    OPTIONS[each.slice(2)]!.value !== undefined && !OPTIONS[each.slice(2)]!.optional;
  return args.find((each, at) => !each.startsWith("-") && !takesValue(args[at - 1]));
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

/** What the supervisor writes: the runtime folder, and Unix sockets. What is wrong there, it says itself. */
function writesOf(args: readonly string[]): string[] {
  const file = resolve(optionOf(args, "--config") || "holdfast.jsonc");
  try {
    const real = realpathSync(file);
    const { runtime, listen, metrics } =
      parse(readFileSync(real, "utf8"), [], { allowTrailingComma: true }) ?? {};
    const place = resolve(dirname(real), typeof runtime === "string" ? runtime : ".holdfast");
    const above = dirname(place);
    const sockets = socketsIn([listen, metrics]).map((path) => resolve(dirname(real), path));
    return [existsSync(above) ? join(realpathSync(above), basename(place)) : place, ...sockets];
  } catch {
    return [resolve(dirname(file), ".holdfast")];
  }
}

/** The paths of sockets in a part of a config, in each form that one may have. */
function socketsIn(value: unknown): string[] {
  if (typeof value === "string") {
    return value.startsWith("unix:") ? [value.slice("unix:".length)] : [];
  }
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, each]) =>
    key === "unix" && typeof each === "string" ? [each] : socketsIn(each)
  );
}

/**
 * The flags of the supervisor.
 *
 * @throws {Error} for a path that no flag can name
 */
export function flagsOf(args: readonly string[], deno: string): string[] {
  if (TRUSTED.includes(commandOf(args) ?? "")) return ["--allow-all"];
  return supervisorFlags(writesOf(args), deno);
}
