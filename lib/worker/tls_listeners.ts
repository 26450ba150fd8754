/** Listeners that end TLS: the runtime's own, over sockets that the supervisor lends. */
import type { Equipment } from "../child/life.ts";
import { LENT_NAME, namesLent } from "../protocol/lent_name.ts";
import type { KeptNames } from "./server_names.ts";
import { byServerName } from "./sni_resolver.ts";

/** What is offered, the best first. */
const ALPN = ["h2", "http/1.1"];

/**
 * Listens for each that is lent. To be called before anything of the app is loaded: the app gets neither
 * a key nor the permission.
 *
 * @param kept of names, where there are several certificates
 * @returns all listeners, in the order of their addresses
 * @throws {Error} if a certificate and its key do not fit
 */
export async function withLent(equipment: Equipment, kept: KeptNames): Promise<unknown[]> {
  const { configure: { roleConfig, grants }, listeners } = equipment;
  const { lent = [] } = roleConfig.role === "worker" ? roleConfig : {};
  const handed = [...listeners];
  const own = lent.length > 0 ? await listenForAll(equipment, kept) : [];
  if (!namesLent(grants.net)) {
    const { state } = Deno.permissions.revokeSync({ name: "net", host: LENT_NAME });
    if (own.length > 0 && state === "granted") {
      throw new Error(`The permission for ${LENT_NAME} cannot be given up`);
    }
  }
  const count = handed.length + own.length;
  return Array.from(
    { length: count },
    (_, index) => lent.includes(index) ? own.shift() : handed.shift(),
  );
}

/** The pairs are not kept: a function that has ended holds nothing. */
async function listenForAll(
  { nextCertificates }: Equipment,
  kept: KeptNames,
): Promise<Deno.TlsListener[]> {
  const { pairs } = await nextCertificates();
  const [hostname, port] = LENT_NAME.split(":") as [string, string];
  const listeners: Deno.TlsListener[] = [];
  // One after the other: in this order they are lent.
  for (const each of pairs) {
    const certified = each.length === 1 ? each[0]! : await byServerName(each, kept);
    const place = { hostname, port: Number(port), alpnProtocols: ALPN };
    listeners.push(Deno.listenTls({ ...place, ...certified as Deno.TlsCertifiedKeyPem }));
  }
  return listeners;
}
