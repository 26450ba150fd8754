/** The metrics process: it receives the status, and serves `GET /metrics`. */
import type http from "node:http";
import net from "node:net";
import * as z from "zod/mini";
import type { Handed } from "../child/hand_over.ts";
import type { Equipment, Service } from "../child/life.ts";
import { type PlainAnswer, PlainServer } from "../child/plain_server.ts";
import { MAX_ANSWER_BYTES, Status } from "../protocol/control.ts";
import { FrameReader } from "../protocol/frame.ts";
import { Stats } from "./stats.ts";

/** How many connections may be open; further ones are closed at once. */
const MAX_CONNECTIONS = 64;

/** Makes the service. */
export function createMetricsServer({ configure, listeners, handOvers }: Equipment): Service {
  if (configure.roleConfig.role !== "metrics") {
    throw new Error(`A metrics process was told to be a ${configure.roleConfig.role}`);
  }
  const figures = new Figures();
  const server = new PlainServer(MAX_CONNECTIONS, (request) => figures.find(request));
  return {
    load: () => Promise.resolve(),
    start: () => {
      handOvers.subscribe((handed) => figures.take(handed));
      for (const handle of listeners) server.listen(handle);
      return "node";
    },
    figures: () => server.figures(),
    drain: () => Promise.resolve(server.stop()),
    close: () => Promise.resolve(),
  };
}

class Figures {
  readonly #stats = new Stats();
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

  async find({ method, url }: http.IncomingMessage): Promise<PlainAnswer> {
    if (method !== "GET" && method !== "HEAD") return { status: 405, text: "Method Not Allowed\n" };
    if (url?.replace(/\?.*$/s, "") !== "/metrics") {
      return { status: 404, text: "Not Found: see /metrics\n" };
    }
    if (!this.#fed) return { status: 503, text: "Nothing known yet\n" };
    const headers = { "content-type": this.#stats.contentType };
    return { status: 200, text: await this.#stats.text(), headers };
  }
}
