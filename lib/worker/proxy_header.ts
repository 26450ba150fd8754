/** The PROXY protocol's header, versions 1 and 2: who the client of a proxy is. Pure. */
import net from "node:net";

/** What the beginning of a connection is. */
export type ProxyHeader =
  /** No whole header yet: it has at least so many bytes. */
  | { readonly kind: "partial"; readonly least: number }
  | { readonly kind: "invalid"; readonly reason: string }
  | {
    readonly kind: "whole";
    /** How many bytes it has. */
    readonly length: number;
    /** Nothing where the proxy speaks for itself, or does not know. */
    readonly client: Deno.NetAddr | undefined;
    /** Whether that client came over TLS, as `send-proxy-v2-ssl` says. */
    readonly secure: boolean;
  };

const SIGNATURE = Uint8Array.of(13, 10, 13, 10, 0, 13, 10, 81, 85, 73, 84, 10);
const V1_START = new TextEncoder().encode("PROXY ");

/** `PROXY UNKNOWN\r\n` is the shortest line, and 107 bytes the longest. */
const V1_LEAST = 15;
const V1_MOST = 107;

const V2_START = 16;

/** Room for every TLV that proxies send, certificates' names and identifiers of clouds included. */
const V2_MOST = 4_096;

/** The addition that says whether the client came over TLS (PP2_TYPE_SSL), and its bit (PP2_CLIENT_SSL). */
const TLV_SSL = 0x20;
const CLIENT_SSL = 1;

/** The bytes of the addresses and ports of each family: unspecified, IPv4, IPv6, Unix sockets. */
const V2_ADDRESSES = [0, 12, 36, 216] as const;

/** Reads a header from the first bytes of a connection. */
export function parseProxyHeader(bytes: Uint8Array): ProxyHeader {
  if (bytes.length === 0) return { kind: "partial", least: V1_LEAST };
  if (startsAlike(bytes, SIGNATURE)) return parseV2(bytes);
  if (startsAlike(bytes, V1_START)) return parseV1(bytes);
  return invalid("there is no PROXY header");
}

function parseV1(bytes: Uint8Array): ProxyHeader {
  const end = bytes.subarray(0, V1_MOST).indexOf(10);
  if (end < 0) {
    if (bytes.length >= V1_MOST) return invalid("its line is longer than 107 bytes");
    // What follows the line is not the header's: of an unfinished line at least its end is missing.
    const missing = bytes.at(-1) === 13 ? 1 : 2;
    return { kind: "partial", least: Math.max(V1_LEAST, bytes.length + missing) };
  }
  const line = new TextDecoder("latin1").decode(bytes.subarray(0, end + 1));
  if (/^PROXY UNKNOWN(?: [^\r\n]*)?\r\n$/.test(line)) return whole(end + 1);
  const [, family, source = "", destination = "", from, to] =
    /^PROXY TCP([46]) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})\r\n$/.exec(line) ?? [];
  const right = [source, destination].every((each) => net.isIP(each) === Number(family)) &&
    !source.includes("%") && [from, to].every((port) => Number(port) <= 65_535);
  if (family === undefined || !right) return invalid("its line is malformed");
  return whole(end + 1, source, Number(from));
}

function parseV2(bytes: Uint8Array): ProxyHeader {
  if (bytes.length < V2_START) return { kind: "partial", least: V2_START };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [version, command] = [bytes[12]! >> 4, bytes[12]! & 15];
  if (version !== 2) return invalid(`its version is ${version}`);
  if (command > 1) return invalid(`its command is ${command}`);
  const [family, transport] = [bytes[13]! >> 4, bytes[13]! & 15];
  const length = V2_START + view.getUint16(14);
  if (length > V2_START + V2_MOST) return invalid(`it is longer than ${V2_MOST} bytes`);
  const addresses = V2_ADDRESSES[family];
  // What LOCAL carries is skipped, whatever it is.
  if (command === 1) {
    if (addresses === undefined || transport > 2) return invalid("its family is unknown");
    if (length < V2_START + addresses) return invalid("its addresses are cut off");
  }
  if (bytes.length < length) return { kind: "partial", least: length };
  if (command === 0) return whole(length);
  const tlvs = readTlvs(bytes.subarray(V2_START + addresses!, length));
  if (tlvs === undefined) return invalid("its additions are malformed");
  const secure = ((tlvs.get(TLV_SSL)?.[0] ?? 0) & CLIENT_SSL) !== 0;
  if (family === 1) {
    return whole(length, bytes.subarray(16, 20).join("."), view.getUint16(24), secure);
  }
  if (family === 2) {
    const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(16 + 2 * index));
    const text = groups.map((group) => group.toString(16)).join(":");
    const hostname = new URL(`http://[${text}]`).hostname.slice(1, -1);
    return whole(length, hostname, view.getUint16(48), secure);
  }
  return whole(length, undefined, 0, secure);
}

/** What they say, by their types; nothing unless each is a type, a length and so many bytes. */
function readTlvs(bytes: Uint8Array): Map<number, Uint8Array> | undefined {
  const found = new Map<number, Uint8Array>();
  let at = 0;
  while (at + 3 <= bytes.length) {
    const end = at + 3 + (bytes[at + 1]! << 8 | bytes[at + 2]!);
    found.set(bytes[at]!, bytes.subarray(at + 3, end));
    at = end;
  }
  return at === bytes.length ? found : undefined;
}

function whole(length: number, hostname?: string, port = 0, secure = false): ProxyHeader {
  const client = hostname === undefined ? undefined : { transport: "tcp" as const, hostname, port };
  return { kind: "whole", length, client, secure };
}

function invalid(reason: string): ProxyHeader {
  return { kind: "invalid", reason };
}

/** Whether as many bytes of `bytes` as there are begin as `start` does. */
function startsAlike(bytes: Uint8Array, start: Uint8Array): boolean {
  return start.subarray(0, bytes.length).every((byte, index) => byte === bytes[index]);
}
