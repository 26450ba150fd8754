/** What is known of a request that `node:http` has parsed: who sent it, and its record in the access log. */
import type http from "node:http";
import { type AccessLog, type OpenRecord, remoteName } from "./access_log.ts";
import { addressOf } from "./app_servers.ts";
import type { ClientAddress, ProxiedFacts } from "./client_address.ts";
import { cameOverTls, namedClient } from "./node_accept.ts";

/**
 * Who sent it: a trusted proxy's word counts.
 *
 * @param address the listener's
 */
export function senderOf(
  { socket, headers }: http.IncomingMessage,
  address: string,
  proxies: ClientAddress | undefined,
): ProxiedFacts {
  const peer: Deno.Addr = namedClient(socket) ??
    (address.startsWith("unix:") ? addressOf(address) : {
      transport: "tcp",
      hostname: socket.remoteAddress ?? "",
      port: socket.remotePort ?? 0,
    });
  const said = cameOverTls(socket) ? "https" : undefined;
  if (!proxies?.trusts(peer)) return { client: peer, scheme: said };
  const { client, scheme = said } = proxies.factsOf(
    peer,
    (name) => headers[name]?.toString() ?? null,
  );
  return { client, scheme };
}

/** Begins its record, which is kept: its answer may take long. */
export function openRecord(
  access: AccessLog,
  { method, url, httpVersion, headers }: http.IncomingMessage,
  remote: Deno.Addr,
): OpenRecord {
  const record = access.begin({
    method: method ?? "GET",
    target: url ?? "/",
    remote: remoteName(remote),
    protocol: `HTTP/${httpVersion}`,
    referer: headers.referer ?? null,
    userAgent: headers["user-agent"] ?? null,
  });
  access.keep(record);
  return record;
}
