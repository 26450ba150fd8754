/** Listeners that somebody else bound: whoever started this process, or what it was before an exec. */
import { HoldfastError } from "../base/error.ts";
import type { BoundAddress } from "../config/config.ts";
import { closeDescriptor, duplicateDescriptor, setCloseOnExec } from "../os/descriptor.ts";
import { freshOptions } from "../os/socket_options.ts";
import { canonicalHost, listeningName } from "../os/socket_name.ts";
import { holding, identityOf, type Listener, tcpListener, updateMode } from "./listener.ts";

/**
 * Makes a listener from a descriptor that listens already. Linux only.
 *
 * @param fd the listener's own from here on, and closed on exec; still the caller's if this fails
 * @throws {HoldfastError} if it does not listen on `address`
 */
export function adoptListener(fd: number, address: BoundAddress): Listener {
  requireListening(fd, address);
  setCloseOnExec(fd, true);
  const handle = { fdForIpc: () => duplicateDescriptor(fd), close: () => closeDescriptor(fd) };
  // It was bound by a Holdfast, and what its workers have done to it is undone.
  if (address.kind === "tcp") return tcpListener(address, handle, freshOptions(address.host));
  const held = holding(address.text, handle);
  const made = identityOf(address.path);
  return {
    ...held,
    file: { path: address.path, made },
    update: (next) => updateMode(next, made),
    close: () => {
      // Whatever else lies there by now is not ours to remove.
      if (made !== undefined && identityOf(address.path) === made) Deno.removeSync(address.path);
      held.close();
    },
  };
}

function requireListening(fd: number, address: BoundAddress): void {
  const name = Deno.build.os === "linux" ? listeningName(fd) : undefined;
  const found = name === undefined
    ? "no stream socket that listens"
    : name.kind === "unix"
    ? `a listener on unix:${name.path}`
    : `a listener on ${name.host} port ${name.port}`;
  if (name !== undefined && isAt(name, address)) return;
  throw new HoldfastError(`Descriptor ${fd} is to listen on ${address.text}, but is ${found}`, {
    kind: "environment",
    code: "listener_unfit",
    hint: "Whoever starts Holdfast must hand over listeners on the addresses in its config",
  });
}

function isAt(name: NonNullable<ReturnType<typeof listeningName>>, address: BoundAddress) {
  if (address.kind === "unix") return name.kind === "unix" && name.path === address.path;
  const host = address.host === "localhost" ? "127.0.0.1" : canonicalHost(address.host);
  return name.kind === "tcp" && name.host === host && name.port === address.port;
}
