/** Where the acme process keeps what is its own. Pure. */
import { join } from "node:path";
import type { Config, TlsFiles } from "./config.ts";

/** The directory of the authority that is asked by default. */
export const LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";

/** The folder of the acme process, in the runtime folder. */
export function acmeFolder(runtime: string): string {
  return join(runtime, "acme");
}

/** Certificate and key: one file, so that both are changed at once. */
export function acmeFiles(runtime: string): TlsFiles {
  const file = join(acmeFolder(runtime), "certificate.pem");
  return { cert: file, key: file };
}

/** Whether the acme process has made a pair: it need not be there yet, and nobody else writes it. */
export function isAcmes({ acme, runtime }: Pick<Config, "acme" | "runtime">, { key }: TlsFiles) {
  return acme !== undefined && key === acmeFiles(runtime).key;
}

/** The pairs of a config that are the operator's own. */
export function givenPairs(config: Pick<Config, "acme" | "runtime" | "listen">): TlsFiles[] {
  return config.listen.flatMap(({ tls = [] }) => tls).filter((pair) => !isAcmes(config, pair));
}

/** The authority's server as an entry of `net`. */
export function authorityOf(directory: string): string {
  const { hostname, port } = new URL(directory);
  return `${hostname}:${port || "443"}`;
}
