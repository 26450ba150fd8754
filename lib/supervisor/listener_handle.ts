/**
 * Handles of listeners: what `node:net` has behind a server that does not accept by itself.
 */
import net from "node:net";
import { bindIpv6Only } from "../os/bind_ipv6.ts";
import { closeDescriptor, duplicateDescriptor } from "../os/descriptor.ts";

/** The part of `TCPWrap` and `PipeWrap` that is used. */
export interface ListenerHandle {
  /** A duplicate of the descriptor, closed on exec; it is the caller's to close. */
  fdForIpc(): number;
  getsockname?(out: { address?: string; port?: number }): number;
  close(): void;
}

const { _createServerHandle } = net as unknown as {
  _createServerHandle(
    address: string | undefined,
    port?: number,
    family?: 4 | 6 | -1,
  ): ListenerHandle | number;
};

function required(handle: ListenerHandle | number, what: string): ListenerHandle {
  if (typeof handle !== "number") return handle;
  throw new Error(`${what}: error ${-handle}`);
}

/** Binds a TCP address; whether another socket listens there shows only when it listens. */
export function bindTcp(host: string, port: number): ListenerHandle {
  const family = host.includes(":") ? 6 : 4;
  return required(_createServerHandle(host, port, family), `Cannot bind ${host} port ${port}`);
}

/** Binds `[::]` for IPv6 alone. */
export function bindIpv6(port: number): ListenerHandle {
  const fd = bindIpv6Only(port);
  return { fdForIpc: () => duplicateDescriptor(fd), close: () => closeDescriptor(fd) };
}

/** Binds a Unix socket at `path`, where nothing may be yet. */
export function bindUnix(path: string): ListenerHandle {
  return required(_createServerHandle(path, -1, -1), `Cannot bind ${path}`);
}
