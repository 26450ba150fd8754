/** A TCP socket for IPv6 only (ipv6(7)), an option that the runtime does not have. Linux only. */
import { closeDescriptor } from "./descriptor.ts";
import { fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { sockets, writeOption } from "./socket_calls.ts";

const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const IPPROTO_IPV6 = 41;
const IPV6_V6ONLY = 26;
/** struct sockaddr_in6; an address of zeros is `::`. */
const NAME_BYTES = 28;

const libc = loadLibc({ bind: { parameters: ["i32", "buffer", "u32"], result: "i32" } });

/**
 * Binds `[::]` to a port for IPv6 only.
 *
 * @returns the descriptor, which is the caller's and closed on exec; it does not listen yet
 * @throws {Error} that says why the kernel refuses
 */
export function bindIpv6Only(port: number): number {
  const fd = sockets.symbols.socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("make a socket of IPv6");
  const name = new DataView(new ArrayBuffer(NAME_BYTES));
  name.setUint16(0, AF_INET6, true);
  name.setUint16(2, port);
  try {
    if (
      !writeOption(fd, SOL_SOCKET, SO_REUSEADDR, 1) ||
      !writeOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) ||
      libc.symbols.bind(fd, new Uint8Array(name.buffer), NAME_BYTES) !== 0
    ) fail(`bind [::] port ${port}`);
  } catch (error) {
    closeDescriptor(fd);
    throw error;
  }
  return fd;
}
