/**
 * A small server of plain HTTP for processes of Holdfast's own: one question a connection, on listeners
 * that were handed over. It is slow clients' own loss: each connection has one deadline.
 */
import http from "node:http";
import net from "node:net";
import { keepServing } from "../base/keep_accepting.ts";

/** How long a connection may live: one question, one answer. */
const CONNECTION_DEADLINE_MS = 10_000;

/** The longest head of a request, in bytes. */
const MAX_HEAD_BYTES = 8 * 1024;

export interface PlainAnswer {
  readonly status: number;
  readonly text: string;
  /** The default is that of plain text. */
  readonly headers?: Readonly<Record<string, string>>;
}

export class PlainServer {
  readonly #maxConnections: number;
  readonly #find: (request: http.IncomingMessage) => PlainAnswer | Promise<PlainAnswer>;
  readonly #sockets = new Set<net.Socket>();
  readonly #acceptors: net.Server[] = [];
  readonly #stops: (() => void)[] = [];
  #accepted = 0;
  #answered = 0;

  /**
   * @param maxConnections how many may be open; further ones are closed at once
   * @param find the answer to a request, whose body nobody reads
   */
  constructor(
    maxConnections: number,
    find: (request: http.IncomingMessage) => PlainAnswer | Promise<PlainAnswer>,
  ) {
    this.#maxConnections = maxConnections;
    this.#find = find;
  }

  listen(handle: unknown): void {
    const server = http.createServer({ maxHeaderSize: MAX_HEAD_BYTES }, (request, response) => {
      void this.#answer(request, response);
    });
    // It never listens itself, and Deno destroys a connection after the answer when the server does
    // not (denoland/deno#35609).
    Object.defineProperty(server, "listening", { value: true });
    const make = () =>
      net.createServer((socket) => {
        if (this.#sockets.size >= this.#maxConnections) return void socket.destroy();
        this.#accepted++;
        this.#sockets.add(socket);
        // One deadline for the whole exchange, however slowly it drips.
        const deadline = setTimeout(() => socket.destroy(), CONNECTION_DEADLINE_MS);
        socket.on("close", () => {
          clearTimeout(deadline);
          this.#sockets.delete(socket);
        });
        socket.on("error", () => {});
        server.emit("connection", socket);
      });
    const acceptor = make();
    acceptor.listen(handle as net.Server);
    this.#stops.push(keepServing(acceptor, make));
    this.#acceptors.push(acceptor);
  }

  figures() {
    return {
      accepted: this.#accepted,
      connections: this.#sockets.size,
      inFlight: 0,
      answered: this.#answered,
    };
  }

  /** Stops at once: no answer is worth waiting for. */
  stop(): { answered: number; cut: number } {
    const cut = this.#sockets.size;
    for (const stop of this.#stops) stop();
    for (const acceptor of this.#acceptors) acceptor.close();
    for (const socket of this.#sockets) socket.destroy();
    return { answered: 0, cut };
  }

  async #answer(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { status, text, headers = { "content-type": "text/plain" } } = await this.#find(request);
    response.writeHead(status, { ...headers, "connection": "close" });
    response.end(text);
    this.#answered++;
  }
}
