/** Certificates and their keys: they are read at each start and reload, and never kept in a file. */
import { HoldfastError } from "../base/error.ts";
import type { Config, TlsFiles } from "../config/config.ts";
import { readConfig } from "../config/read.ts";

/** What all of them may have: a worker is sent them at once. */
const MAX_CHARS = 512 * 1024;

/** By the config that names them: a worker that is replaced gets what its generation got. */
const read = new WeakMap<Config, readonly (readonly TlsFiles[])[]>();

/**
 * Reads them, as text in the order of the listeners. Whether they fit is the planner's to say before, and
 * each worker's.
 *
 * @throws {HoldfastError} if one cannot be read, or they are too long
 */
export async function readTlsFiles(config: Config): Promise<void> {
  const texts = new Map<string, string>();
  const all: TlsFiles[][] = [];
  for (const { tls, kind, text } of config.listen) {
    if (tls === undefined) continue;
    if (kind === "unix") throw unfit(`Cannot serve HTTPS on ${text}: it is a Unix socket`);
    for (const file of tls.flatMap(({ cert, key }) => [cert, key])) {
      texts.set(file, (await readConfig(file)).text);
    }
    all.push(tls.map(({ cert, key }) => ({ cert: texts.get(cert)!, key: texts.get(key)! })));
  }
  const chars = all.flat().reduce((sum, { cert, key }) => sum + cert.length + key.length, 0);
  if (chars > MAX_CHARS) {
    throw unfit(`The certificates and keys have ${chars} characters, at most ${MAX_CHARS} fit`);
  }
  read.set(config, all);
}

/** What {@link readTlsFiles} has read. */
export function tlsPairs(config: Config): readonly (readonly TlsFiles[])[] {
  return read.get(config) ?? [];
}

function unfit(message: string): HoldfastError {
  const hint = "Name the files of a certificate with its chain, and a TCP address";
  return new HoldfastError(message, { kind: "config", code: "tls_unfit", hint });
}
