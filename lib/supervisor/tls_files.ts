/** Certificates and their keys: they are read at each start and reload, and never kept in another file. */
import { HoldfastError } from "../base/error.ts";
import { acmeFiles, isAcmes } from "../config/acme_place.ts";
import type { Account, Config, TlsFiles } from "../config/config.ts";
import { readConfig } from "../config/read.ts";
import { runErrand } from "./errand.ts";

/** What all of them may have: a worker is sent them at once. */
const MAX_CHARS = 512 * 1024;

/** By the config that names them: a worker that is replaced gets what its generation got. */
const read = new WeakMap<Config, readonly (readonly TlsFiles[])[]>();

/**
 * Reads them, as text in the order of the listeners. Whether they fit is the planner's to say before, and
 * each worker's.
 *
 * @param acme whom the acme process runs as
 * @param program of a thread that reads what that process has written, where it comes from no file
 * @throws {HoldfastError} if one cannot be read, or they are too long
 */
export async function readTlsFiles(
  config: Config,
  acme?: Account,
  program?: string,
): Promise<void> {
  const texts = new Map<string, string>();
  const all: TlsFiles[][] = [];
  for (const { tls, kind, text } of config.listen) {
    if (tls === undefined) continue;
    if (kind === "unix") throw unfit(`Cannot serve HTTPS on ${text}: it is a Unix socket`);
    for (const pair of tls) {
      for (const file of [pair.cert, pair.key]) {
        if (texts.has(file)) continue;
        const found = isAcmes(config, pair)
          ? await readAcmes(config, acme, program)
          : (await readConfig(file)).text;
        texts.set(file, found);
      }
    }
    all.push(tls.map(({ cert, key }) => ({ cert: texts.get(cert)!, key: texts.get(key)! })));
  }
  const chars = all.flat().reduce((sum, { cert, key }) => sum + cert.length + key.length, 0);
  if (chars > MAX_CHARS) {
    throw unfit(`The certificates and keys have ${chars} characters, at most ${MAX_CHARS} fit`);
  }
  read.set(config, all);
}

/** Whether the acme process has put another pair into its file than {@link readTlsFiles} has read. */
export async function tlsChanged(
  config: Config,
  ...rest: [acme?: Account, program?: string]
): Promise<boolean> {
  const all = config.listen.flatMap(({ tls = [] }) => tls);
  const known = tlsPairs(config).flat()[all.findIndex((pair) => isAcmes(config, pair))];
  return known !== undefined && known.key !== await readAcmes(config, ...rest);
}

/** What the acme process has written is read with that process's rights, and no others. */
async function readAcmes(
  { runtime }: Config,
  account: Account | undefined,
  program?: string,
): Promise<string> {
  const path = acmeFiles(runtime).key;
  try {
    const result = await runErrand({ errand: "read", path, account }, program);
    return result.type === "read" ? result.text : "";
  } catch (cause) {
    const hint =
      "The acme process makes it when it starts: see that its folder has room, and reload";
    const facts = { kind: "environment", code: "certificate_unread", hint, cause } as const;
    throw new HoldfastError((cause as Error).message, facts);
  }
}

/** What {@link readTlsFiles} has read. */
export function tlsPairs(config: Config): readonly (readonly TlsFiles[])[] {
  return read.get(config) ?? [];
}

function unfit(message: string): HoldfastError {
  const hint = "Name the files of a certificate with its chain, and a TCP address";
  return new HoldfastError(message, { kind: "config", code: "tls_unfit", hint });
}
