/**
 * WebSockets: the app calls `Deno.upgradeWebSocket`, directly or through Hono; the worker layer
 * wraps it to track every open socket and close it properly at a drain.
 */
import type { Connection, Traffic } from "./traffic.ts";

/** RFC 6455, 7.4.1: an endpoint is going away, such as a server going down. */
const GOING_AWAY = 1001;

/** What an engine adds to an upgrade of one of its requests. */
export interface UpgradeHooks {
  /** Further options for the runtime; an error here reaches the app. */
  options(request: Request): object;
  /** Called when the connection has become a WebSocket, before the app hears of it. */
  onOpen(request: Request): void;
}

/** Replaces `Deno.upgradeWebSocket`; to be called once, before the app is loaded. */
export function trackWebSockets(traffic: Traffic, engines: readonly UpgradeHooks[]): void {
  const upgrade = Deno.upgradeWebSocket;
  Deno.upgradeWebSocket = (request, options) => {
    const extra = engines.map((engine) => engine.options(request));
    const upgraded = upgrade(request, Object.assign({}, options, ...extra));
    track(upgraded.socket, traffic, () => engines.forEach((engine) => engine.onOpen(request)));
    return upgraded;
  };
}

/** An open WebSocket counts as one request in flight on one connection. */
function track(socket: WebSocket, traffic: Traffic, onOpen: () => void): void {
  const close = () => socket.close(GOING_AWAY, "The server is going away");
  const connection: Connection = {
    inFlight: 1,
    idleSinceMs: 0,
    closeAnnounced: false,
    uploading: false,
    close,
  };
  socket.addEventListener("open", () => {
    onOpen();
    traffic.connections.add(connection);
    traffic.inFlight++;
    if (traffic.draining) close();
    traffic.drainSignal.addEventListener("abort", close);
  });
  socket.addEventListener("close", () => {
    traffic.drainSignal.removeEventListener("abort", close);
    if (!traffic.connections.delete(connection)) return;
    traffic.inFlight--;
    traffic.answered++;
  });
}
