/** What a supervisor is to be allowed, which runs on Node or Deno. */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parse } from "jsonc-parser";
import { OPTIONS } from "../../lib/cli/manual.ts";

/** These build, write where they are told, or set up a world of their own; they serve nobody. */
const TRUSTED = ["audit", "check", "compile", "explain", "init"];

/** What to do about such a path. */
export const NAME_HINT = "Rename the folder: Deno takes a comma for the end of a path";

/** The command that arguments name: the first of them that is no option, and no option's value. */
function commandOf(args: readonly string[]): string | undefined {
  const takesValue = (each = "") =>
    each.startsWith("--") && Object.hasOwn(OPTIONS, each.slice(2)) &&
    OPTIONS[each.slice(2)]!.value !== undefined;
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

/** The runtime folder: the only one that the supervisor writes. What is wrong there, it says itself. */
function runtimeOf(args: readonly string[]): string {
  const file = resolve(optionOf(args, "--config") || "holdfast.jsonc");
  try {
    const real = realpathSync(file);
    const { runtime } = parse(readFileSync(real, "utf8"), [], { allowTrailingComma: true }) ?? {};
    const place = resolve(dirname(real), typeof runtime === "string" ? runtime : ".holdfast");
    const above = dirname(place);
    return existsSync(above) ? join(realpathSync(above), basename(place)) : place;
  } catch {
    return resolve(dirname(file), ".holdfast");
  }
}

/**
 * The flags of the supervisor.
 *
 * @throws {Error} for a path that no flag can name
 */
export function flagsOf(args: readonly string[], deno: string): string[] {
  if (TRUSTED.includes(commandOf(args) ?? "")) return ["--allow-all"];
  const runtime = runtimeOf(args);
  const unnameable = [runtime, deno].find((path) => /[,\n]/.test(path));
  if (unnameable !== undefined) {
    throw new Error(`${JSON.stringify(unnameable)} has a comma or a line end in its name`);
  }
  return [
    ...["--allow-read", `--allow-write=${runtime}`, "--allow-net", `--allow-run=${deno}`],
    ...["--allow-env", "--allow-ffi", "--allow-sys=uid"],
  ];
}
