/**
 * A chat over WebSocket. Messages lie in SQLite and not in memory: several workers, and the versions
 * before and after a reload, are one room.
 */
import { Hono } from "hono";
import { upgradeWebSocket } from "hono/deno";
import type { WSContext } from "hono/ws";
import { serveStatic } from "hono/deno";
import { openMessages } from "./messages.ts";

const MAX_TEXT_CHARS = 500;
const POLL_MS = 200;

/** Who is connected, and the last message that each was sent. */
const sockets = new Map<WSContext, number>();

let messages: ReturnType<typeof openMessages>;
let timer: ReturnType<typeof setInterval>;

export function open(): void {
  messages = openMessages("data/chat.db");
  timer = setInterval(tell, POLL_MS);
}

export function close(): void {
  clearInterval(timer);
  messages.close();
}

/** Sends everybody what came since. */
function tell(): void {
  for (const [socket, lastId] of sockets) {
    for (const message of messages.after(lastId)) {
      socket.send(JSON.stringify(message));
      sockets.set(socket, message.id);
    }
  }
}

const app = new Hono();

app.get(
  "/chat",
  upgradeWebSocket((c) => {
    // A page that comes back says what it has seen: nothing is lost over a reload.
    const seen = Number(c.req.query("after"));
    return {
      onOpen: (_event, socket) => {
        sockets.set(socket, Number.isSafeInteger(seen) && seen >= 0 ? seen : 0);
      },
      onMessage: ({ data }) => {
        if (typeof data !== "string" || data.trim() === "") return;
        messages.add(data.trim().slice(0, MAX_TEXT_CHARS));
        tell();
      },
      onClose: (_event, socket) => {
        sockets.delete(socket);
      },
    };
  }),
);

app.use("*", serveStatic({ root: "./public" }));

export default app;
