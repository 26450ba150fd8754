/** Sockets that another unit of the service manager made: they are the manager's, and stay bound. */
import { HoldfastError } from "../base/error.ts";
import type { BoundAddress, ListenAddress } from "../config/config.ts";
import { duplicateDescriptor } from "../os/descriptor.ts";
import { listeningName } from "../os/socket_name.ts";
import { holding, type Listener, optionsOf, tcpListener } from "./listener.ts";
import type { Passed } from "./service_environment.ts";

/**
 * A socket that was passed, as a listener. Neither its file nor its end is ours: it may be listened on
 * again by a later reload.
 *
 * @throws {HoldfastError} if it is none that a worker can accept from
 */
export function activatedSocket(
  { fd, name }: Passed,
): { readonly address: BoundAddress; readonly listener: Listener } {
  const address = passedAddress(fd, name);
  const handle = { fdForIpc: () => duplicateDescriptor(fd), close: () => {} };
  // What the manager has set, by KeepAlive= or NoDelay= of its unit, is to stay.
  if (address.kind === "tcp") {
    return { address, listener: tcpListener(address, handle, optionsOf(handle)) };
  }
  return { address, listener: { ...holding(address.text, handle), update: () => {} } };
}

function passedAddress(fd: number, name: string): BoundAddress {
  const found = listeningName(fd);
  if (found?.kind === "tcp") {
    const { host, port } = found;
    return { ...found, text: `${host.includes(":") ? `[${host}]` : host}:${port}` };
  }
  // One of the abstract namespace has no path.
  if (found?.path) return { ...found, text: `unix:${found.path}`, mode: 0 };
  throw new HoldfastError(`Cannot listen on what is passed as ${name}: no stream socket listens`, {
    kind: "environment",
    code: "passed_socket",
    hint: "In the socket unit write ListenStream= with Accept=no, and no abstract name",
  });
}

/** Puts those that were passed in the place of `systemd` and `systemd:NAME`. */
export function resolveActivated(
  listen: readonly ListenAddress[],
  rows: readonly { readonly address: BoundAddress; readonly passed?: Passed }[],
): ListenAddress[] {
  const resolved = listen.flatMap((address): ListenAddress[] => {
    if (address.kind !== "systemd") return [address];
    const { name, tls, redirect, proxyProtocol } = address;
    const found = rows.filter(({ passed }) => passed && (name ?? passed.name) === passed.name);
    return found.length > 0
      ? found.map(({ address }) => ({ ...address, tls, redirect, proxyProtocol }))
      : [address];
  });
  const texts = resolved.map(({ text }) => text);
  return resolved.filter(({ text }, index) => texts.indexOf(text) === index);
}
