/**
 * Whom a process may dial, as data, and what is said of an address that it asks for. Pure; the
 * supervisor's guard dials in its place (`lib/supervisor/dialling.ts`).
 */

/** One that may be dialled. */
export interface Dialled {
  /** An address in the form of {@link addressText}, or a name. */
  readonly host: string;
  readonly isName: boolean;
  /** Nothing for every port. */
  readonly port?: number | undefined;
}

/** The largest struct sockaddr that is read: that of a Unix socket is longer than any of TCP. */
export const MAX_ADDRESS_BYTES = 128;

const AF_UNSPEC = 0;
const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const NAME_SERVER_PORT = 53;

/**
 * Ports that the C libraries give an address of which they only ask how it would be reached, to put the
 * addresses of a name in order (RFC 6724): glibc and musl.
 */
const PORTS_OF_ORDER = [0, 65_535];

/** An address that a process asks for. */
export type Asked =
  /** Undoes a connect. */
  | { readonly kind: "none" }
  /** `path` as it is spelled; of one that is no file, its name after an `@`, as tools show it. */
  | { readonly kind: "unix"; readonly path: string; readonly isFile: boolean }
  | { readonly kind: "inet"; readonly host: string; readonly port: number };

/** What an entry of `net` begins with that is the path of a Unix socket. */
const UNIX = "unix:";

/** Reads struct sockaddr (ip(7), ipv6(7), unix(7)); nothing if it is of no family that may be dialled. */
export function readAddress(bytes: Uint8Array): Asked | undefined {
  if (bytes.length < 2) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const family = view.getUint16(0, true);
  if (family === AF_UNSPEC) return { kind: "none" };
  if (family === AF_UNIX) {
    const isFile = bytes.length > 2 && bytes[2] !== 0;
    const name = bytes.subarray(isFile ? 2 : 3);
    const end = name.indexOf(0);
    const text = new TextDecoder().decode(end < 0 ? name : name.subarray(0, end));
    return { kind: "unix", path: isFile ? text : `@${text}`, isFile };
  }
  if (family === AF_INET && bytes.length >= 16) {
    return { kind: "inet", host: bytes.subarray(4, 8).join("."), port: view.getUint16(2) };
  }
  if (family === AF_INET6 && bytes.length >= 24) {
    const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(8 + 2 * index));
    const text = groups.map((group) => group.toString(16)).join(":");
    return { kind: "inet", host: addressText(text)!, port: view.getUint16(2) };
  }
  return undefined;
}

/**
 * An address in the one form in which addresses are compared: without brackets and zone, an IPv4 address
 * within IPv6 as what it is. Nothing if the text is none.
 */
export function addressText(text: string): string | undefined {
  const bare = text.replace(/^\[|\]$|%.*$/g, "");
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(bare)) return bare;
  const url = `http://[${bare}]/`;
  if (!bare.includes(":") || !URL.canParse(url)) return undefined;
  const found = new URL(url).hostname.slice(1, -1);
  const [, high, low] = found.match(/^::ffff:([0-9a-f]+):([0-9a-f]+)$/) ?? [];
  if (high === undefined || low === undefined) return found;
  return [high, low].map((half) => parseInt(half, 16)).flatMap((half) => [half >> 8, half & 255])
    .join(".");
}

/**
 * The same struct sockaddr with another address of the same family in it.
 *
 * @returns nothing if the other one is of another family
 */
export function withHost(
  bytes: Uint8Array<ArrayBuffer>,
  host: string,
): Uint8Array<ArrayBuffer> | undefined {
  const changed = bytes.slice();
  const isIpv4 = !host.includes(":");
  if (isIpv4 !== (changed[0] === AF_INET)) return undefined;
  if (isIpv4) changed.set(host.split(".").map(Number), 4);
  else {
    const [head, tail] = host.split("::").map((part) => part.split(":").filter((each) => each));
    const rest = tail ?? [];
    const zeros = Array.from({ length: 8 - head!.length - rest.length }, () => "0");
    const view = new DataView(changed.buffer);
    [...head!, ...zeros, ...rest].forEach((group, index) =>
      view.setUint16(8 + 2 * index, parseInt(group, 16))
    );
  }
  return changed;
}

/** The paths of Unix sockets in `net`. */
export function socketsOf(net: readonly string[]): string[] {
  return net.filter(isUnix).map((entry) => entry.slice(UNIX.length));
}

/**
 * Where the C library looks for services of the machine by itself, to find users, hosts and contexts: nscd,
 * systemd, SSSD, Avahi, mcstrans, Winbind. It can do without each.
 */
const OF_C_LIBRARY = [
  ...["/run/nscd/", "/run/systemd/", "/run/avahi-daemon/", "/run/setrans/", "/run/samba/"],
  "/var/lib/sss/pipes/",
];

/** Whether a path may be asked for though the app asks for none. */
export function isOfCLibrary(path: string): boolean {
  const place = path.replace(/^\/var\/run\//, "/run/");
  return OF_C_LIBRARY.some((folder) => place.startsWith(folder));
}

/** Whether an entry of `net` is the path of a Unix socket. */
export function isUnix(entry: string): boolean {
  return entry.startsWith(UNIX);
}

/** What entries of `net` come to that are no Unix sockets. */
export function dialledOf(net: readonly string[]): Dialled[] {
  return net.filter((entry) => !isUnix(entry)).map((entry) => {
    const [, host, port] = entry.match(/^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/)!;
    const address = addressText(host!);
    return {
      host: address ?? host!,
      isName: address === undefined,
      ...port !== undefined && { port: Number(port) },
    };
  });
}

/** What is known when an address is judged. */
export interface DialFacts {
  readonly dials: readonly Dialled[];
  readonly transport: "tcp" | "udp";
  /** The addresses of the machine's name servers. */
  readonly nameServers: () => readonly string[];
  /** The addresses that are known of a name, as of the last look. */
  readonly known: (name: string) => ReadonlySet<string> | undefined;
}

/** `route`: may be asked how it is reached, and sent nothing. `names`: if it is one of these hosts'. */
export type DialVerdict = "granted" | "route" | "denied" | { readonly names: readonly string[] };

/** Judges an address. */
export function judgeDial(
  { host, port }: Extract<Asked, { kind: "inet" }>,
  { dials, transport, nameServers, known }: DialFacts,
): DialVerdict {
  const byPort = dials.filter((each) => each.port === undefined || each.port === port);
  if (byPort.some((each) => !each.isName && each.host === host)) return "granted";
  const resolves = dials.some(({ isName }) => isName);
  if (resolves && port === NAME_SERVER_PORT && nameServers().includes(host)) return "granted";
  // Before the names: it is asked of what they resolve to.
  if (transport === "udp" && PORTS_OF_ORDER.includes(port)) return "route";
  const names = byPort.filter(({ isName }) => isName).map((each) => each.host);
  if (names.some((name) => known(name)?.has(host))) return "granted";
  return names.length === 0 ? "denied" : { names: [...new Set(names)] };
}

/** The name servers of resolv.conf(5): this machine where it names none. */
export function nameServersOf(text: string): string[] {
  const found = [...text.matchAll(/^\s*nameserver\s+(\S+)/gm)].flatMap(([, address]) =>
    addressText(address!) ?? []
  );
  return found.length > 0 ? found : ["127.0.0.1", "::1"];
}
