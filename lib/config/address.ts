import type { Served } from "./config.ts";
import { canonicalIp, splitHostPort } from "./host_port.ts";
import { refusePath } from "./path_text.ts";
import { quote, Refusal } from "./problem.ts";

/** A TCP address to listen on, in its canonical spelling. */
export interface TcpText {
  readonly kind: "tcp";
  readonly text: string;
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A Unix socket to listen on; the path is as the config spells it. */
export interface UnixText {
  readonly kind: "unix";
  readonly path: string;
  readonly mode: number;
}

/** Sockets that the service manager passes (sd_listen_fds(3)). */
export interface SystemdText {
  readonly kind: "systemd";
  readonly text: string;
  /** `undefined` for all of them. */
  readonly name?: string | undefined;
}

/** An entry of `listen`: where, and what is served there; paths are as the config spells them. */
export type ListenText = (TcpText | UnixText | SystemdText) & Served;

// Connecting needs write permission on the socket file: by default only the owner has it.
const DEFAULT_MODE = 0o600;

const HOST_NAME = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_]([a-z0-9_-]{0,62}))*$/;
// systemd.socket(5), FileDescriptorName=; names that begin as ours do are those of our own store.
const PASSED_NAME = /^(?!holdfast-)[!-9;-~]{1,255}$/;
const UNSPECIFIED = ["0.0.0.0", "[::]"];

/** Reads an entry of `listen` that is a string. */
export function parseListen(text: string): TcpText | UnixText | SystemdText | Refusal {
  if (text === "systemd" || text.startsWith("systemd:")) return parsePassed(text);
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    return refusePath(path) ?? unixText(path, DEFAULT_MODE);
  }
  const url = /^https?:\/\/([^/?#]+)/i.exec(text)?.[1];
  if (url !== undefined) {
    const message = `${quote(text)} is a URL`;
    const place = url.includes(":") ? url : `${url}:8080`;
    return new Refusal("listen_url", message, `write ${quote(place)}`);
  }
  if (/^\.{0,2}\//.test(text)) {
    const message = `${quote(text)} is a path`;
    return new Refusal("listen_path", message, `for a Unix socket write ${quote(`unix:${text}`)}`);
  }
  const split = splitHostPort(/^\d+$/.test(text) ? `:${text}` : text);
  if (split === undefined) return unclear(text);
  const port = split.port ?? "";
  if (split.host === "" || split.host === "*") {
    const wanted = parsePort(port) instanceof Refusal ? "8080" : port;
    return new Refusal(
      "listen_host_any",
      `${quote(text)} does not say which addresses`,
      `write "127.0.0.1:${wanted}" for this machine alone, "0.0.0.0:${wanted}" for every IPv4 ` +
        `address or "[::]:${wanted}" for IPv6`,
    );
  }
  const host = canonicalIp(split.host) ?? (split.host === "localhost" ? "localhost" : undefined);
  if (host === undefined) {
    return new Refusal(
      "listen_host_name",
      `${quote(text)}: a host name may stand for several addresses`,
      'write an address such as "127.0.0.1:8080", or "localhost"',
    );
  }
  const number = parsePort(port);
  if (number instanceof Refusal) return number;
  return {
    kind: "tcp",
    text: `${host}:${number}`,
    host: host.replace(/^\[|\]$/g, ""),
    port: number,
  };
}

/** Reads where one listens with HTTPS, or sends on to it: a port. */
export function parseListenPort(text: string): TcpText | SystemdText | Refusal {
  const parsed = parseListen(text);
  if (parsed instanceof Refusal || parsed.kind !== "unix") return parsed;
  return new Refusal(
    "listen_https_unix",
    `${quote(text)}: on a Unix socket there is plain HTTP alone`,
    'write an address such as "0.0.0.0:443"; the proxy in front of a Unix socket ends TLS',
  );
}

function parsePassed(text: string): SystemdText | Refusal {
  const [, name] = text.split(/:(.*)/s);
  if (name === undefined || PASSED_NAME.test(name)) return { kind: "systemd", text, name };
  return new Refusal(
    "listen_systemd_name",
    `${quote(text)} is not the name of a socket unit's socket`,
    'write "systemd:NAME" with its FileDescriptorName=, or "systemd" for all',
  );
}

/** Reads an entry of `net`; the result is the canonical spelling, the path of a Unix socket as it is. */
export function parseNet(text: string): string | Refusal {
  if (/^unix:/i.test(text)) {
    const path = text.slice("unix:".length);
    return refusePath(path) ?? `unix:${path}`;
  }
  if (text.includes("*") || text.includes("/")) {
    return new Refusal(
      "net_wildcard",
      `${quote(text)} is a wildcard, a range or a URL: ` +
        "it would allow hosts that are not listed",
      'name each host, such as "api.example.com:443"',
    );
  }
  const split = splitHostPort(text);
  if (split === undefined) return unclear(text);
  const host = canonicalIp(split.host) ?? hostName(split.host);
  if (host === undefined || UNSPECIFIED.includes(host)) {
    return new Refusal(
      "net_host",
      `${quote(text)} is not a single host`,
      'write a name, an IPv4 address or a bracketed IPv6 address, such as "api.example.com:443"',
    );
  }
  if (split.port === undefined) return host;
  const port = parsePort(split.port);
  return port instanceof Refusal ? port : `${host}:${port}`;
}

/** Where traces are sent: an address and a port, canonical, or why not. */
export function parseCollector(text: string): string | Refusal {
  const parsed = parseNet(text);
  if (parsed instanceof Refusal) return parsed;
  const split = splitHostPort(parsed);
  if (split?.port !== undefined && canonicalIp(split.host) !== undefined) return parsed;
  return new Refusal(
    "collector_not_address",
    `${
      quote(text)
    } is not an address with a port: the wall opens one port, and does not resolve names`,
    'write "127.0.0.1:4318", and run a collector there that forwards the traces',
  );
}

/** A Unix socket of the config; `mode` is its permission bits. */
export function unixText(path: string, mode: number): UnixText {
  return { kind: "unix", path, mode };
}

function unclear(text: string): Refusal {
  return new Refusal(
    "address_unclear",
    `${quote(text)} is not a valid host:port`,
    'an IPv6 address goes in brackets, such as "[::1]:8080"',
  );
}

function parsePort(text: string): number | Refusal {
  if (/^0+$/.test(text)) {
    return new Refusal(
      "port_zero",
      "port 0 is a different port at each start, which a reload could not find again",
      "choose a port from 1 to 65535",
    );
  }
  const port = /^[1-9]\d{0,4}$/.test(text) ? Number(text) : Infinity;
  if (port <= 65_535) return port;
  const found = text === "" ? "no port" : `port ${quote(text)}`;
  return new Refusal("port_invalid", found, "write a port from 1 to 65535 after the host");
}

/** Spellings such as `127.1` or `0x7f000001` are addresses to a resolver, so they are not names here. */
function hostName(host: string): string | undefined {
  const last = host.split(".").at(-1) ?? "";
  return HOST_NAME.test(host) && !/^(\d+|0x[0-9a-f]*)$/.test(last) ? host : undefined;
}
