/** What a command failed by, for whoever ran it. */
import { HoldfastError, toHoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { printError } from "./terminal.ts";

/** The flags of the supervisor, by the permissions that they give. */
const FLAGS: Readonly<Record<string, string>> = {
  read: "--allow-read",
  write: "--allow-write=RUNTIME_FOLDER",
  net: "--allow-net",
  run: "--allow-run=DENO_PROGRAM",
  env: "--allow-env",
  ffi: "--allow-ffi",
  sys: "--allow-sys=uid",
};

/** Says what a command failed by; a permission that is missing is a flag that is missing. */
export function toFailure(error: unknown): HoldfastError {
  // What cannot be done in the runtime folder may lack another flag than that of the folder.
  const missing = error instanceof HoldfastError && !isAboutWriting(error.cause)
    ? error.cause
    : error;
  if (!(missing instanceof Deno.errors.NotCapable)) return toHoldfastError(error);
  const [, kind = ""] = /Requires (\w+) access/.exec(missing.message) ?? [];
  // What is made to be thrown away is no part of the runtime folder.
  const flag = missing.message.includes("<TMP>") ? "--allow-write" : FLAGS[kind];
  const all = Object.values(FLAGS).join(" ");
  return new HoldfastError(missing.message.replace(/, run again with .*$/, ""), {
    kind: "environment",
    code: "not_permitted",
    hint: `${
      flag ? `Add ${flag} after "deno run"; a start needs` : "Start Holdfast with"
    } all of ${all}`,
    cause: missing,
  });
}

function isAboutWriting(error: unknown): boolean {
  return error instanceof Deno.errors.NotCapable && /Requires write access/.test(error.message);
}

/** Prints it, and returns the exit status. */
export function printFailure(error: unknown): number {
  const failure = toFailure(error);
  printError(failure);
  return EXIT[failure.kind];
}
