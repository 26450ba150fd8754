/** The metrics process: it receives the status, and serves `GET /metrics`. */
import http from "node:http";
import net from "node:net";
import * as z from "zod/mini";
import type { Handed } from "../child/hand_over.ts";
import type { Equipment, Service } from "../child/life.ts";
import { keepServing } from "../base/keep_accepting.ts";
import { MAX_ANSWER_BYTES, Status } from "../protocol/control.ts";
import { FrameReader } from "../protocol/frame.ts";
import { Stats } from "./stats.ts";

/** How many connections may be open; further ones are closed at once. */
const MAX_CONNECTIONS = 64;

/** How long a connection may live: one question, one answer. */
const CONNECTION_DEADLINE_MS = 10_000;

/** The longest head of a request, in bytes. */
const MAX_HEAD_BYTES = 8 * 1024;

/** Makes the service. */
export function createMetricsServer({ configure, listeners, handOvers }: Equipment): Service {
  if (configure.roleConfig.role !== "metrics") {
    throw new Error(`A metrics process was told to be a ${configure.roleConfig.role}`);
  }
  const server = new MetricsServer();
  return {
    load: () => Promise.resolve(),
    start: () => {
      handOvers.subscribe((handed) => server.take(handed));
      for (const handle of listeners) server.listen(handle);
      return "node";
    },
    figures: () => server.figures(),
    drain: () => Promise.resolve(server.stop()),
    close: () => Promise.resolve(),
  };
}

class MetricsServer {
  readonly #stats = new Stats();
  readonly #sockets = new Set<net.Socket>();
  readonly #acceptors: net.Server[] = [];
  readonly #stops: (() => void)[] = [];
  #accepted = 0;
  #answered = 0;
  #fed = false;

  take({ message, handle }: Handed): void {
    if (message.type !== "feed") throw new Error(`Was handed a ${message.type}`);
    const socket = new net.Socket({ handle, readable: true, writable: true } as never);
    const frames = new FrameReader(MAX_ANSWER_BYTES);
    socket.on("error", () => {});
    socket.on("data", (chunk: Uint8Array) => {
      for (const value of frames.push(chunk)) {
        this.#stats.observe(z.parse(Status, value));
        this.#fed = true;
      }
    });
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
        if (this.#sockets.size >= MAX_CONNECTIONS) return void socket.destroy();
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
    const { status, type, text } = await this.#find(request);
    response.writeHead(status, { "content-type": type, "connection": "close" });
    response.end(text);
    this.#answered++;
  }

  async #find({ method, url }: http.IncomingMessage) {
    const plain = (status: number, text: string) => ({ status, type: "text/plain", text });
    if (method !== "GET" && method !== "HEAD") return plain(405, "Method Not Allowed\n");
    if (url?.replace(/\?.*$/s, "") !== "/metrics") return plain(404, "Not Found: see /metrics\n");
    if (!this.#fed) return plain(503, "Nothing known yet\n");
    return { status: 200, type: this.#stats.contentType, text: await this.#stats.text() };
  }
}
