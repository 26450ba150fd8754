/** The address of a socket that another process made (getsockname(2), socket(7)). Linux only. */
import { isListener } from "./descriptor.ts";
import { loadLibc } from "./libc.ts";
import { readOption } from "./socket_calls.ts";

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SOCK_STREAM = 1;

/** struct sockaddr_un, the longest of them. */
const MAX_NAME_BYTES = 110;

const libc = loadLibc({
  getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
  getpeername: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
});

/** Where a socket is bound. */
export type SocketName =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/**
 * Where a descriptor listens.
 *
 * @returns nothing if it is not a listening stream socket, or of another family
 */
export function listeningName(fd: number): SocketName | undefined {
  if (readOption(fd, SOL_SOCKET, SO_TYPE)?.[0] !== SOCK_STREAM || !isListener(fd)) return undefined;
  return nameOf(fd, "getsockname");
}

/** With whom a descriptor is connected; nothing if it is with nobody, or of another family. */
export function peerName(fd: number): SocketName | undefined {
  return nameOf(fd, "getpeername");
}

function nameOf(fd: number, call: "getsockname" | "getpeername"): SocketName | undefined {
  const name = new Uint8Array(MAX_NAME_BYTES);
  const length = new Uint32Array([name.length]);
  if (libc.symbols[call](fd, name, new Uint8Array(length.buffer)) !== 0) return undefined;
  const view = new DataView(name.buffer);
  switch (view.getUint16(0, true)) {
    case AF_INET:
      return { kind: "tcp", host: name.slice(4, 8).join("."), port: view.getUint16(2) };
    case AF_INET6: {
      const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(8 + 2 * index));
      const host = groups.map((group) => group.toString(16)).join(":");
      return { kind: "tcp", host: canonicalHost(host), port: view.getUint16(2) };
    }
    case AF_UNIX: {
      const path = name.subarray(2, Math.min(length[0]!, name.length));
      const end = path.indexOf(0);
      return { kind: "unix", path: new TextDecoder().decode(end < 0 ? path : path.slice(0, end)) };
    }
  }
  return undefined;
}

/** The one spelling of an IP address, without brackets. */
export function canonicalHost(host: string): string {
  if (!host.includes(":")) return host;
  return new URL(`http://[${host}]`).hostname.slice(1, -1);
}
