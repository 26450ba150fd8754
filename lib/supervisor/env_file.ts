/** The file with values of variables: it is read at each start and reload, and never kept. */
import { HoldfastError } from "../base/error.ts";
import { readConfig } from "../config/read.ts";
import type { Config } from "../config/config.ts";

/** By the config that names it: a worker that is replaced gets what its generation got. */
const read = new WeakMap<Config, Readonly<Record<string, string>>>();

/**
 * The values for the processes of a config.
 *
 * @throws {HoldfastError} if its file cannot be read, or has a line that is none
 */
export async function readEnvFile(config: Config): Promise<void> {
  const { envFile: file } = config;
  if (file === undefined || read.has(config)) return;
  const { text } = await readConfig(file);
  read.set(config, parseEnvFile(text, file));
}

/** What {@link readEnvFile} has read. */
export function envFileValues(config: Config): Readonly<Record<string, string>> {
  return read.get(config) ?? {};
}

const LINE =
  /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(.*?))\s*(?:(?<=["'\s])#.*)?$/;

/**
 * Parses the text of one.
 *
 * @throws {HoldfastError} that names the line
 */
export function parseEnvFile(text: string, file: string): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [index, line] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const [, name, double, single, bare] = line.match(LINE) ?? [];
    if (name === undefined || /^["']/.test(bare ?? "") || line.includes("\0")) {
      // Not the line itself: it may be a secret.
      throw new HoldfastError(`${file}:${index + 1}: not a line of NAME=value`, {
        kind: "config",
        code: "env_file_invalid",
        hint: "Write NAME=value, with quotes around a value with # or spaces at its ends",
      });
    }
    values[name] = double?.replace(/\\(.)/g, (_, each) => each === "n" ? "\n" : each) ??
      single ?? bare ?? "";
  }
  return values;
}
