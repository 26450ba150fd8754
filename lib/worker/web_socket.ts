/**
 * WebSockets: the app calls `Deno.upgradeWebSocket`, directly or through Hono; the worker layer
 * wraps it to track every open socket and close it properly at a drain.
 */
import { ConnectionWatch, Limits } from "./limits.ts";
import { findSlot } from "./response_body.ts";
import type { Connection, Traffic } from "./traffic.ts";

/** RFC 6455, 7.4.1: an endpoint is going away, such as a server going down. */
const GOING_AWAY = 1001;

/** Of IANA's registry: the service restarts, and the client may come back. */
const SERVICE_RESTART = 1012;

/** Ends a connection whose client does not answer that it is to close. */
function closeAtOnce(socket: WebSocket): void {
  const runtime = Deno as unknown as Record<symbol, { core?: { tryClose?(rid: number): void } }>;
  const { internal } = Deno as unknown as { internal: symbol };
  const rid = (socket as unknown as Record<symbol, unknown>)[findSlot("[[rid]]", socket)];
  if (typeof rid === "number") runtime[internal]?.core?.tryClose?.(rid);
}

/** What an engine adds to an upgrade of one of its requests. */
export interface UpgradeHooks {
  /** Further options for the runtime; an error here reaches the app. */
  options(request: Request): object;
  /**
   * Called when the connection has become a WebSocket, before the app hears of it.
   *
   * @returns what is to be done when that has ended
   */
  onOpen(request: Request): (() => void) | undefined;
}

/** Replaces `Deno.upgradeWebSocket`; to be called once, before the app is loaded. */
export function trackWebSockets(
  traffic: Traffic,
  engines: readonly UpgradeHooks[],
  limits: Limits = new Limits(traffic),
): void {
  const upgrade = Deno.upgradeWebSocket;
  Deno.upgradeWebSocket = (request, options) => {
    const extra = engines.map((engine) => engine.options(request));
    const upgraded = upgrade(request, Object.assign({}, options, ...extra));
    track(upgraded.socket, traffic, limits, () => {
      const ends = engines.map((engine) => engine.onOpen(request));
      return () => ends.forEach((end) => end?.());
    });
    return upgraded;
  };
}

/** An open WebSocket counts as one request in flight on one connection. */
function track(
  socket: WebSocket,
  traffic: Traffic,
  limits: Limits,
  onOpen: () => () => void,
): void {
  const watch = limits.settings.webSocketIdleTimeoutMs === 0 ? undefined : watchMessages(socket);
  let onEnd: (() => void) | undefined;
  let forget: (() => void) | undefined;
  const close = () => {
    if (traffic.restarting) socket.close(SERVICE_RESTART, "The server is restarting");
    else socket.close(GOING_AWAY, "The server is going away");
  };
  const connection: Connection = {
    inFlight: 1,
    idleSinceMs: 0,
    closeAnnounced: false,
    uploading: false,
    watch,
    idleLimit: "webSocketIdleTimeoutMs",
    webSocket: true,
    close,
    cut: () => closeAtOnce(socket),
  };
  socket.addEventListener("open", () => {
    onEnd = onOpen();
    traffic.connections.add(connection);
    traffic.inFlight++;
    forget = traffic.endAtDrain(close, true);
  });
  socket.addEventListener("close", () => {
    forget?.();
    if (!traffic.remove(connection)) return;
    onEnd?.();
    traffic.inFlight--;
    traffic.answered++;
  });
}

/** Counts the messages of both sides. */
function watchMessages(socket: WebSocket): ConnectionWatch {
  const watch = new ConnectionWatch();
  const { send } = socket;
  Object.defineProperty(socket, "send", {
    value: (data: string | ArrayBuffer) => {
      watch.asked++;
      send.call(socket, data);
    },
    writable: true,
    configurable: true,
  });
  socket.addEventListener("message", () => watch.asked++);
  return watch;
}
