/** What the limits know of a connection of `node:http`, whose sockets count their bytes. */
import type http from "node:http";
import type net from "node:net";
import { ConnectionWatch, type Limits } from "./limits.ts";
import { Pace } from "./pace.ts";

export class SocketMeter {
  readonly watch = new ConnectionWatch();
  /** The latest request, whose body may be arriving, where nobody else watches it. */
  current: http.IncomingMessage | undefined;
  /** Whether the connection is HTTP's no more: what passes on it counts as its being used. */
  upgraded = false;
  readonly #socket: net.Socket;
  readonly #body: Pace;
  readonly #answer: Pace;
  #read = 0;
  #written = 0;

  constructor(socket: net.Socket, { settings }: Limits) {
    this.#socket = socket;
    this.#body = new Pace(settings, "bodyTimeoutMs");
    this.#answer = new Pace(settings, "sendTimeoutMs");
  }

  /** Brings the watch up to date. */
  measure(): void {
    const { bytesRead, bytesWritten, writableLength } = this.#socket;
    const [read, written] = [bytesRead - this.#read, bytesWritten - this.#written];
    [this.#read, this.#written] = [bytesRead, bytesWritten];
    if (this.upgraded && read + written > 0) this.watch.asked++;
    this.#step(this.#body, !this.upgraded && isAwaited(this.current), read);
    // What is queued counts as written: of a long piece nothing is told until it is out.
    this.#step(this.#answer, writableLength > 0, written, writableLength);
  }

  #step(pace: Pace, waits: boolean, bytes: number, ahead = 0): void {
    if (bytes > 0 || !waits) pace.pass(bytes, ahead);
    if (waits) {
      this.watch.paces.add(pace);
      pace.wait();
    } else this.watch.paces.delete(pace);
  }
}

/** Whether more of a body is missing, and the app has taken in what has come. */
function isAwaited(incoming: http.IncomingMessage | undefined): boolean {
  return incoming !== undefined && !incoming.complete && !incoming.destroyed &&
    incoming.readableLength < incoming.readableHighWaterMark;
}

/** Ends the connection of a request whose body turns out longer than is allowed. */
export function limitIncoming(
  incoming: http.IncomingMessage,
  limits: Limits,
  watch: ConnectionWatch,
): void {
  const { push } = incoming;
  let total = 0;
  let exceeded = false;
  incoming.push = (chunk: Uint8Array | null, ...more: unknown[]) => {
    total += chunk?.length ?? 0;
    if (chunk === null || !limits.isTooLarge(total)) {
      return Reflect.apply(push, incoming, [chunk, ...more]) as boolean;
    }
    if (!exceeded) limits.bodyTooLarge(watch);
    exceeded = true;
    incoming.socket.destroy();
    return false;
  };
}
