/**
 * Whether certificates and their keys can be used together. Whoever parses the config asks; nothing of a
 * key is kept, or told. The supervisor reads the files again by itself.
 */
import { dnsNames } from "../base/dns_names.ts";
import type { Config, TlsFiles } from "../config/config.ts";
import { isAcmes } from "../config/acme_place.ts";
import { formatKey } from "../config/format_key.ts";
import { ConfigError, type Problem, quote, Refusal } from "../config/problem.ts";

/** Far longer than any chain. */
const MAX_BYTES = 128 * 1024;

/** What is known of one that can be used. */
export interface TlsFacts {
  readonly text: string;
  /** Its file. */
  readonly cert: string;
  readonly subject: string;
  /** The names and addresses that it is for, as the certificate spells them. */
  readonly names: string;
  readonly notAfter: Date;
}

/**
 * Looks at each, but for those of the acme process, which makes them when it starts.
 *
 * @throws {ConfigError} with what is wrong of all of them
 */
export async function checkTls(
  config: Pick<Config, "file" | "listen" | "at" | "acme" | "runtime">,
): Promise<TlsFacts[]> {
  if (config.listen.every(({ tls = [] }) => tls.every((pair) => isAcmes(config, pair)))) return [];
  // A planner has no other use for it, and it takes its time.
  const crypto = await import("node:crypto");
  const problems: Problem[] = [];
  const facts: TlsFacts[] = [];
  for (const [index, { tls = [], text }] of config.listen.entries()) {
    for (const [place, pair] of tls.entries()) {
      if (isAcmes(config, pair)) continue;
      const looked = lookAt(pair, crypto);
      const found = "refusal" in looked || place === 0 ? looked : refuseNameless(pair, looked);
      if (!("refusal" in found)) facts.push({ text, cert: pair.cert, ...found });
      else {
        const of = tls.length > 1 ? ["certs", place, found.at] : [found.at];
        const key = formatKey(["listen", index, ...of]);
        problems.push({ ...found.refusal, key, at: config.at?.listen });
      }
    }
  }
  if (problems.length > 0) throw new ConfigError(config.file, problems);
  return facts;
}

type Found =
  | Omit<TlsFacts, "text" | "cert">
  | { readonly at: keyof TlsFiles; readonly refusal: Refusal };

function lookAt(
  { cert, key }: TlsFiles,
  { createPrivateKey, X509Certificate }: typeof import("node:crypto"),
): Found {
  const refuse = (at: keyof TlsFiles, code: string, message: string, hint: string): Found => ({
    at,
    refusal: new Refusal(code, message, hint),
  });
  const texts = { cert: attempt(() => readText(cert)), key: attempt(() => readText(key)) };
  for (const [at, path] of Object.entries({ cert, key }) as [keyof TlsFiles, string][]) {
    const { message } = texts[at] as Partial<Error>;
    if (message === undefined) continue;
    return refuse(
      at,
      "tls_unreadable",
      `${quote(path)} cannot be read: ${message}`,
      "check the path, and that the user that starts Holdfast may read it",
    );
  }
  const certificate = attempt(() => new X509Certificate(texts.cert as string));
  if (certificate instanceof Error) {
    return refuse(
      "cert",
      "tls_cert",
      `${quote(cert)} is no certificate in PEM: ${certificate.message}`,
      "name the file with the certificate and its chain, such as fullchain.pem",
    );
  }
  const own = attempt(() => createPrivateKey(texts.key as string));
  if (own instanceof Error) {
    return refuse(
      "key",
      "tls_key",
      `${quote(key)} is no private key in PEM without a password: ${own.message}`,
      "name the file of the certificate's private key, such as privkey.pem",
    );
  }
  const { subject, subjectAltName: names = "", validTo } = certificate;
  if (!certificate.checkPrivateKey(own)) {
    return refuse(
      "key",
      "tls_pair",
      `${quote(key)} is not the private key of the certificate in ${quote(cert)} ` +
        `(${names || subject})`,
      "name the two files that were made together; the old one may be there beside a new one",
    );
  }
  const notAfter = new Date(validTo);
  return { subject, names, notAfter };
}

/** One behind the first is only found by its names. */
function refuseNameless({ cert }: TlsFiles, found: Extract<Found, { names: string }>): Found {
  if (dnsNames(found.names).length > 0) return found;
  const refusal = new Refusal(
    "tls_nameless",
    `${quote(cert)} has no DNS name (subjectAltName): no client would ever get it`,
    "put it first, where it is for whoever asks for no name, or leave it out",
  );
  return { at: "cert", refusal };
}

function readText(path: string): string {
  // Asked before the file is opened: opening a FIFO waits for a writer.
  const { isFile, size } = Deno.statSync(path);
  if (!isFile) throw new Error("it is not a regular file");
  if (size > MAX_BYTES) throw new Error(`it has ${size} bytes, the limit is ${MAX_BYTES}`);
  return Deno.readTextFileSync(path);
}

function attempt<T>(act: () => T): T | Error {
  try {
    return act();
  } catch (error) {
    return error as Error;
  }
}
