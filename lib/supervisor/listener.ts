/** The listeners: bound once, held for the supervisor's whole life, duplicated for each worker. */
import type { ListenAddress } from "../config/config.ts";
import {
  closeDescriptor,
  countWaitingAndClose,
  isListening,
  makeNonBlocking,
  startListening,
} from "../os/descriptor.ts";
import { setSocketMode } from "../os/file.ts";
import { readOptions, restoreOptions, type SocketOption } from "../os/socket_options.ts";
import { bindIpv6, bindTcp, bindUnix, type ListenerHandle } from "./listener_handle.ts";
import { bindError, removeStaleSocket } from "./stale_socket.ts";

/** What the kernel keeps while no worker accepts; `net.core.somaxconn` caps it. */
const BACKLOG = 511;

const TCP_USER_TIMEOUT = 18;

/** A bound, listening socket. */
export interface Listener {
  /** The canonical spelling of its address: its identity over reloads. */
  readonly text: string;
  /** The file of a Unix socket, and what tells it from a later one at its path. */
  readonly file?: { readonly path: string; readonly made: string | undefined };
  /** A descriptor of its own for whoever takes it over. */
  duplicate(): number;
  /**
   * Listens again if a worker made the shared socket stop: a connect(2) to nowhere does that, for
   * every holder of it.
   *
   * @returns whether it had stopped
   */
  listenAgain(): boolean;
  /**
   * Sets back what a worker changed of the shared socket: options that every connection would inherit,
   * and that an accept does not wait.
   *
   * @returns what it was, by its numbers or its name
   */
  setBack(): string[];
  /** How many connections wait to be accepted; 1 for any number on a Unix socket. */
  waiting(): number;
  /** Applies what may change without binding anew: the mode of a Unix socket. */
  update(address: ListenAddress): void;
  /** Lets go; a Unix socket's file goes with it. */
  close(): void;
}

/**
 * Binds an address and listens.
 *
 * @throws {HoldfastError} if it is taken or may not be bound
 */
export async function bindListener(address: ListenAddress): Promise<Listener> {
  if (address.kind === "tcp") return bindTcpListener(address);
  if (address.kind === "unix") return await bindUnixListener(address);
  throw bindError(
    address,
    "the service manager passed no such socket",
    "Start the socket unit, not the service alone; FileDescriptorName= in it is the name",
  );
}

function bindTcpListener(address: Extract<ListenAddress, { kind: "tcp" }>): Listener {
  const host = address.host === "localhost" ? "127.0.0.1" : address.host;
  let handle: ListenerHandle;
  try {
    handle = address.ipv6Only ? bindIpv6(address.port) : bindTcp(host, address.port);
  } catch (error) {
    throw bindError(
      address,
      (error as Error).message,
      "Use an address of this machine; a port below 1024 needs CAP_NET_BIND_SERVICE",
      error,
    );
  }
  // A bind that fails because the port is taken shows only here: libuv puts that error off.
  const bound: { port?: number } = address.ipv6Only ? { port: address.port } : {};
  handle.getsockname?.(bound);
  if (bound.port !== address.port || !startListening(handle.fdForIpc(), BACKLOG)) {
    handle.close();
    throw bindError(
      address,
      "another socket listens there, or it may not be bound",
      "See who listens with ss -ltnp, or choose another port; a port below 1024 needs " +
        "CAP_NET_BIND_SERVICE",
    );
  }
  return tcpListener(address, handle, optionsOf(handle));
}

/**
 * A TCP listener whose connections end where a client takes nothing for `sendTimeoutMs`: the runtime
 * does not say how much of an answer has been taken, and the kernel knows.
 *
 * @param options those that it is to have otherwise
 */
export function tcpListener(
  address: ListenAddress,
  handle: Pick<ListenerHandle, "fdForIpc" | "close">,
  options: SocketOption[],
): Listener {
  const held = holding(address.text, handle, options);
  const update = ({ sendTimeoutMs }: ListenAddress) => {
    const index = options.findIndex(({ level, name }) => level === 6 && name === TCP_USER_TIMEOUT);
    if (sendTimeoutMs === undefined || index < 0) return;
    options[index] = { ...options[index]!, value: sendTimeoutMs };
    held.setBack();
  };
  update(address);
  return { ...held, update };
}

/** The options that a TCP listener has now. */
export function optionsOf(handle: Pick<ListenerHandle, "fdForIpc">): SocketOption[] {
  const fd = handle.fdForIpc();
  const options = readOptions(fd);
  closeDescriptor(fd);
  return options;
}

async function bindUnixListener(
  address: Extract<ListenAddress, { kind: "unix" }>,
): Promise<Listener> {
  await removeStaleSocket(address);
  let handle: ListenerHandle;
  try {
    handle = bindUnix(address.path);
  } catch (error) {
    const hint = "Its folder must exist and be writable, and the path be shorter than 108 bytes";
    throw bindError(address, (error as Error).message, hint, error);
  }
  // Before it listens nobody can connect, whatever the mode.
  try {
    setSocketMode(address.path, address.mode);
  } catch (error) {
    handle.close();
    throw bindError(address, (error as Error).message, "Somebody else writes its folder", error);
  }
  const made = identityOf(address.path);
  if (!startListening(handle.fdForIpc(), BACKLOG)) {
    handle.close();
    throw bindError(address, "the kernel refuses to listen", "See the log of the kernel");
  }
  const held = holding(address.text, handle);
  return {
    ...held,
    file: { path: address.path, made },
    update: (next) => updateMode(next, made),
    close: () => {
      // Closing the handle removes whatever lies at the path. Where somebody has put another file
      // in its place ours stays open instead: without a name, nobody can reach it.
      const found = identityOf(address.path);
      if (found === undefined || found === made) held.close();
    },
  };
}

/** Whether nobody can reach a listener any more, since its file was removed or replaced. */
export function isLost({ file }: Listener): boolean {
  return file !== undefined && identityOf(file.path) !== file.made;
}

/** Gives a socket's file its mode. Whatever else lies there, a link above all, is not ours to open up. */
export function updateMode(next: ListenAddress, made: string | undefined): void {
  if (next.kind !== "unix") return;
  if (identityOf(next.path) !== made) throw new Error("another file is in its place");
  setSocketMode(next.path, next.mode);
}

/**
 * What is done with a listener of either kind; a handle's `close` decides what goes with it.
 *
 * @param options those that a TCP listener is to have, whatever a worker does
 */
export function holding(
  text: string,
  handle: Pick<ListenerHandle, "fdForIpc" | "close">,
  options: readonly SocketOption[] = [],
): Omit<Listener, "update"> {
  const setBack = (fd: number): string[] => [
    ...restoreOptions(fd, options).map(({ level, name }) => `${level}:${name}`),
    ...makeNonBlocking(fd) ? ["O_NONBLOCK"] : [],
  ];
  const setBackNow = () => {
    const fd = handle.fdForIpc();
    const changed = setBack(fd);
    closeDescriptor(fd);
    return changed;
  };
  // What somebody else bound may be as it likes until here.
  setBackNow();
  return {
    text,
    duplicate: () => {
      const fd = handle.fdForIpc();
      // Not by the look of a second ago: whoever takes it over finds it as it was bound.
      setBack(fd);
      return fd;
    },
    setBack: setBackNow,
    listenAgain: () => {
      if (isListening(handle.fdForIpc())) return false;
      if (!startListening(handle.fdForIpc(), BACKLOG)) throw new Error("the kernel refuses");
      return true;
    },
    waiting: () => countWaitingAndClose(handle.fdForIpc()),
    close: () => handle.close(),
  };
}

/** What tells a file from a later one at its path: file systems use inode numbers again at once. */
export function identityOf(path: string): string | undefined {
  try {
    const { dev, ino, birthtime } = Deno.lstatSync(path);
    return `${dev}:${ino}:${birthtime?.getTime()}`;
  } catch {
    return undefined;
  }
}
