/** The client's own address, where a proxy that is trusted says it. */
import net from "node:net";
import type { ServeInfo } from "./app.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";

export type ProxySettings = NonNullable<Extract<RoleConfig, { role: "worker" }>["proxies"]>;

/** Reads a header of a request; `null` if it is not there. */
export type ReadHeader = (name: string) => string | null;

/** What a proxy says of a request. */
export interface ProxiedFacts {
  /** The nearest address that no trusted proxy has. */
  readonly client: Deno.Addr;
  /** By which scheme that client came, if the proxy says it. */
  readonly scheme: "http" | "https" | undefined;
}

const FORWARDED = "forwarded";

/** How many addresses are remembered: the same few proxies come again and again. */
const MAX_KNOWN = 1_000;

export class ClientAddress {
  readonly #trusted = new net.BlockList();
  readonly #trustsUnix: boolean;
  readonly #header: string;
  readonly #known = new Map<string, boolean>();

  /** @param settings each of `trusted` is an address, a range in CIDR, or `unix` */
  constructor({ trusted, header }: ProxySettings) {
    this.#header = header;
    this.#trustsUnix = trusted.includes("unix");
    for (const text of trusted) {
      if (text === "unix") continue;
      const [address, bits] = text.split("/") as [string, string?];
      const family = familyOf(address)!;
      if (bits === undefined) this.#trusted.addAddress(address, family);
      else this.#trusted.addSubnet(address, Number(bits), family);
    }
  }

  /** Whether who connects from there is a proxy to be believed. */
  trusts(peer: Deno.Addr): boolean {
    return "hostname" in peer ? this.#trustsHost(peer.hostname) : this.#trustsUnix;
  }

  /**
   * What a trusted proxy says: the address list is read from its end, which is what the nearest proxy
   * wrote, past every proxy that is trusted too. What stands before may be the client's invention.
   */
  factsOf(peer: Deno.Addr, read: ReadHeader): ProxiedFacts {
    return this.#header === FORWARDED
      ? this.#ofForwarded(peer, read(FORWARDED) ?? "")
      : this.#ofList(peer, read(this.#header) ?? "", read("x-forwarded-proto"));
  }

  #ofList(peer: Deno.Addr, list: string, schemes: string | null): ProxiedFacts {
    let client = peer;
    for (let end = list.length; end > 0 && this.trusts(client);) {
      const start = list.lastIndexOf(",", end - 1) + 1;
      const hop = parseHop(list.slice(start, end).trim());
      if (hop === undefined) break;
      client = hop;
      end = start - 1;
    }
    return { client, scheme: schemeOf(schemes?.slice(schemes.lastIndexOf(",") + 1)) };
  }

  #ofForwarded(peer: Deno.Addr, text: string): ProxiedFacts {
    const elements = parseForwarded(text).toReversed();
    let client = peer;
    for (const each of elements) {
      const hop = this.trusts(client) ? parseHop(each.get("for") ?? "") : undefined;
      if (hop === undefined) break;
      client = hop;
    }
    return { client, scheme: schemeOf(elements[0]?.get("proto")) };
  }

  #trustsHost(host: string): boolean {
    const known = this.#known.get(host);
    if (known !== undefined) return known;
    const family = familyOf(host);
    const trusted = family !== undefined && this.#trusted.check(host, family);
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(host, trusted);
    return trusted;
  }
}

/** What `Deno.serve` says of a request, with another address. */
export class ProxiedInfo implements ServeInfo {
  readonly remoteAddr: ServeInfo["remoteAddr"];
  readonly #info: ServeInfo;

  constructor(info: ServeInfo, remoteAddr: Deno.Addr) {
    this.#info = info;
    this.remoteAddr = remoteAddr as ServeInfo["remoteAddr"];
  }

  get completed(): Promise<void> {
    return this.#info.completed;
  }
}

/** Gives a request the scheme by which the client came. */
export function withScheme(request: Request, scheme: ProxiedFacts["scheme"]): Request {
  const { url } = request;
  if (scheme === "https" && url.startsWith("http:")) {
    Object.defineProperty(request, "url", { value: `https:${url.slice("http:".length)}` });
  }
  return request;
}

function familyOf(address: string): "ipv4" | "ipv6" | undefined {
  const version = net.isIP(address);
  return version === 4 ? "ipv4" : version === 6 ? "ipv6" : undefined;
}

/** An address with or without a port: `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]:4711`. */
function parseHop(text: string): Deno.NetAddr | undefined {
  const [, bracketed, v4, port] = /^(?:\[([^\]]*)\]|([\d.]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const hostname = bracketed ?? v4 ?? text;
  if (familyOf(hostname) === undefined || hostname.includes("%")) return undefined;
  return { transport: "tcp", hostname, port: Number(port ?? 0) };
}

function schemeOf(text: string | undefined): ProxiedFacts["scheme"] {
  const scheme = text?.trim().toLowerCase();
  return scheme === "http" || scheme === "https" ? scheme : undefined;
}

/** A parameter of RFC 7239, 4, with what ends it: a comma begins the next proxy's. */
const PARAMETER =
  /\s*([!#$%&'*+.^_`|~\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~\w-]*))\s*(,|;|$)\s*/y;

/** @returns nothing where the text breaks the grammar */
function parseForwarded(text: string): Map<string, string>[] {
  const elements = [new Map<string, string>()];
  PARAMETER.lastIndex = 0;
  while (PARAMETER.lastIndex < text.length) {
    const match = PARAMETER.exec(text);
    if (match === null) return [];
    const [, name, quoted, token, end] = match;
    elements.at(-1)!.set(name!.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? token!);
    if (end === ",") elements.push(new Map());
  }
  return elements;
}
