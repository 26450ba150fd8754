/**
 * Sockets of `node:http` as `Deno.upgradeWebSocket` takes them. It takes the stream of a TCP socket alone,
 * but the runtime makes such a stream of any descriptor, and a WebSocket needs nothing of it that a Unix
 * socket has not. Internal API: what is missing is found before a client is answered.
 */
import net from "node:net";

/** The part of `TCPWrap` (the handle behind `net.Socket`) that is used. */
interface TcpHandle {
  open(fd: number): number;
  takeStream(): number;
  close(): void;
}

/** The part of `PipeWrap` that is used. */
interface PipeHandle {
  fdForIpc(): number;
  readStop(): void;
}

/** What the runtime uses of a socket to upgrade it. */
type Upgradable = Pick<net.Socket, "destroyed" | "write"> & { _handle: unknown };

/** @returns nothing where this runtime cannot upgrade it */
export function upgradable(socket: net.Socket): Upgradable | undefined {
  const { _handle: handle } = socket as unknown as { _handle?: Partial<TcpHandle & PipeHandle> };
  if (typeof handle?.takeStream === "function") return socket as unknown as Upgradable;
  const TcpWrap = findTcpWrap();
  if (typeof handle?.fdForIpc !== "function" || TcpWrap === undefined) return undefined;
  return asTcp(socket, handle as PipeHandle, TcpWrap);
}

type TcpWrap = new (type: 0) => TcpHandle;

let found: { readonly TcpWrap: TcpWrap | undefined } | undefined;

/** No module exports it: a socket that is about to dial has one, and this one never knows whom to dial. */
function findTcpWrap(): TcpWrap | undefined {
  if (found !== undefined) return found.TcpWrap;
  const socket = new net.Socket();
  socket.on("error", () => {});
  socket.connect({ host: "nowhere.invalid", port: 1, lookup() {} });
  const { _handle: handle } = socket as unknown as { _handle?: Partial<TcpHandle> };
  const usable = [handle?.open, handle?.takeStream, handle?.close].every((each) =>
    typeof each === "function"
  );
  found = { TcpWrap: usable ? handle!.constructor as TcpWrap : undefined };
  socket.destroy();
  return found.TcpWrap;
}

function asTcp(socket: net.Socket, pipe: PipeHandle, TcpWrap: TcpWrap): Upgradable {
  return {
    // The runtime says here that the socket is its own from then on.
    destroyed: false,
    write: socket.write.bind(socket),
    _handle: {
      readStop: () => pipe.readStop(),
      takeStream() {
        const tcp = new TcpWrap(0);
        const status = tcp.open(pipe.fdForIpc());
        if (status !== 0) throw new Error(`Cannot upgrade a Unix socket: open returned ${status}`);
        // Its descriptor was duplicated: the connection stays.
        socket.destroy();
        const stream = tcp.takeStream();
        // Without this the runtime would take no other descriptor of that number, after this one's end.
        tcp.close();
        return stream;
      },
    },
  };
}
