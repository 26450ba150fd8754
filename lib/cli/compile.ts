import { basename, dirname, resolve } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { buildPortable } from "../compile/portable.ts";
import type { Command } from "./cli.ts";
import { printLine } from "./terminal.ts";

/** Turns an app with its config into one executable file. */
export const compile: Command = async ({ config, output, portable }) => {
  if (!portable) {
    throw new HoldfastError("Only --portable executables can be made so far", {
      kind: "usage",
      code: "usage",
      hint: "holdfast compile --portable --output FILE",
    });
  }
  const file = resolve(output ?? basename(dirname(resolve(config))));
  const report = await buildPortable({ configFile: config, output: file });
  const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  printLine(
    `${report.output}: ${mib(report.bytes)}, of which ${mib(report.programBytes)} are Deno and ` +
      `${mib(report.codeBytes)} the app, after ${report.ms} ms`,
  );
  return EXIT.ok;
};
