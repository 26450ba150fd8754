import { basename, dirname, resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { buildNative } from "../compile/native.ts";
import { buildPortable } from "../compile/portable.ts";
import type { CliCommand } from "./command.ts";
import { Progress } from "./progress.ts";
import { printLine } from "./terminal.ts";

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;

/** Builds one executable file of Holdfast, for the app of whatever folder it is started in. */
async function compileSelf(
  file: string,
  others: Readonly<Record<string, unknown>>,
): Promise<number> {
  for (const [option, value] of Object.entries(others)) {
    if (value === undefined || value === false) continue;
    throw new HoldfastError(`--${option} cannot be combined with --self`, {
      kind: "usage",
      code: "usage",
      hint: "Leave it out: the file has the deno program and Holdfast in it, and no app",
    });
  }
  const { buildSelf } = await import("../compile/self.ts");
  const { bytes, programBytes, codeBytes, ms } = await buildSelf(file);
  printLine(
    `${file}: ${mib(bytes)}, built in ${ms} ms (Deno ${mib(programBytes)}, Holdfast ` +
      `${mib(codeBytes)})`,
  );
  return EXIT.ok;
}

/** Builds one executable file from an app and its config. */
export const compile: CliCommand = async ({ config, output, name, portable, state, self }) => {
  if (self) return await compileSelf(resolve(output ?? "holdfast"), { portable, name, state });
  const file = resolve(output ?? basename(dirname(resolve(config))));
  if (portable && state !== undefined) {
    throw new HoldfastError("--state cannot be combined with --portable", {
      kind: "usage",
      code: "usage",
      hint: "Leave it out: a portable executable takes --state when it starts",
    });
  }
  using progress = new Progress("reading the config");
  const onStep = (what: string) => progress.turnTo(what);
  if (portable) {
    const { bytes, programBytes, codeBytes, ms } = await buildPortable({
      ...{ configFile: config, output: file, name, onStep },
    });
    progress.end();
    printLine(
      `${file}: ${mib(bytes)}, built in ${ms} ms (Deno ${mib(programBytes)}, the app ` +
        `${mib(codeBytes)})`,
    );
    return EXIT.ok;
  }
  const place = resolve(state ?? dirname(file));
  const { bytes, ms, flags } = await buildNative({
    ...{ configFile: config, output: file, name, state: place, how: "compile", onStep },
  });
  progress.end();
  printLine(
    `${file}: ${mib(bytes)}, built in ${ms} ms; it must be in ${place}, and has these permissions`,
  );
  for (const flag of flags) printLine(`  ${flag}`);
  return EXIT.ok;
};
