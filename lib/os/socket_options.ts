/** Options of a shared listener that a worker may set, and how they are restored (socket(7)). */
import { SOCKET_OPTIONS } from "../sandbox/seccomp.ts";
import { closeDescriptor } from "./descriptor.ts";
import { fail } from "./errno.ts";
import { readOption, sockets, writeOption } from "./socket_calls.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM_CLOEXEC = 0o2000001;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;

/** The value of an option; each is a number of 32 bits. */
export interface SocketOption {
  readonly level: number;
  readonly name: number;
  readonly value: number;
}

/** The options of a TCP socket that the filter lets a worker change. None on systems other than Linux. */
export function readOptions(fd: number): SocketOption[] {
  if (Deno.build.os !== "linux") return [];
  return SOCKET_OPTIONS.flatMap(([level, names]) =>
    names.flatMap((name) => {
      const value = readOption(fd, level, name)?.[0];
      return value === undefined ? [] : [{ level, name, value }];
    })
  );
}

/** The options of a new TCP listener. */
export function freshOptions(host: string): SocketOption[] {
  if (Deno.build.os !== "linux") return [];
  const family = host.includes(":") ? AF_INET6 : AF_INET;
  const fd = sockets.symbols.socket(family, SOCK_STREAM_CLOEXEC, 0);
  if (fd < 0) fail("make a socket");
  try {
    // Every listener is bound with it; an address that is bound does not change its family.
    writeOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    return readOptions(fd).filter(({ level, name }) => !(level === 41 && name === 26));
  } finally {
    closeDescriptor(fd);
  }
}

/** Restores options, and returns those that were changed. */
export function restoreOptions(fd: number, options: readonly SocketOption[]): SocketOption[] {
  return options.filter(({ level, name, value }) => {
    const found = readOption(fd, level, name)?.[0];
    return found !== undefined && found !== value && writeOption(fd, level, name, value);
  });
}
