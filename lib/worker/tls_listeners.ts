/** Listeners that end TLS: the runtime's own, over sockets that the supervisor lends. */
import type { Equipment } from "../child/life.ts";
import { LENT_NAME, namesLent } from "../protocol/lent_name.ts";

/** What is offered, the best first. */
const ALPN = ["h2", "http/1.1"];

/**
 * Listens for each that is lent. To be called before anything of the app is loaded: the app gets neither
 * a key nor the permission.
 *
 * @returns all listeners, in the order of their addresses
 * @throws {Error} if a certificate and its key do not fit
 */
export async function withLent(equipment: Equipment): Promise<unknown[]> {
  const { configure: { roleConfig, grants }, listeners } = equipment;
  const { lent = [] } = roleConfig.role === "worker" ? roleConfig : {};
  const handed = [...listeners];
  const own = lent.length > 0 ? await listenForAll(equipment) : [];
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
async function listenForAll({ nextCertificates }: Equipment): Promise<Deno.TlsListener[]> {
  const { pairs } = await nextCertificates();
  return pairs.map(({ cert, key }) => {
    const [hostname, port] = LENT_NAME.split(":") as [string, string];
    return Deno.listenTls({ hostname, port: Number(port), cert, key, alpnProtocols: ALPN });
  });
}
