/** Loads the app, and finds what answers its requests. */
import { report } from "../child/report.ts";
import { type App, type Handler, handlerOf, hasDefault, noHandler, toApp } from "./app.ts";
import type { AppServers } from "./app_servers.ts";

/** How long a module may go on after it has started a server: it may be waiting for that to end. */
const AFTER_SERVER_MS = 500;

export interface AppLoading {
  /** Imports the app's module. */
  load(): Promise<Record<string, unknown>>;
  readonly servers: AppServers;
  /** Resolves when nothing is left that could run: only what comes from outside would go on. */
  whenIdle(): Promise<void>;
}

/**
 * Loads it. A default export counts before a server that the module starts, and that may come later: a
 * `main()` that nobody awaits connects to its database first. A module that waits for the end of its own
 * server never ends, and is complete all the same.
 *
 * @throws {TypeError} if nothing answers requests
 */
export async function loadApp({ load, servers, whenIdle }: AppLoading): Promise<App> {
  const idle = whenIdle().then(() => undefined);
  const loading = load();
  const waits = servers.first.then(() => sleep(AFTER_SERVER_MS)).then(() => undefined);
  const module = await Promise.race([loading, waits]);
  if (module === undefined) {
    loading.catch(() => {});
    return toApp({}, own(servers.taken!, servers));
  }
  const exported = handlerOf(module.default);
  if (exported !== undefined) {
    servers.leave();
    return toApp(module, own(exported, servers));
  }
  if (servers.taken === undefined && hasDefault(module)) throw noHandler(module);
  if (servers.taken === undefined) {
    const waiting = setTimeout(() => {
      report("The app's module exports no handler, and has started no server yet");
    }, 1000);
    Deno.unrefTimer(waiting);
    await Promise.race([servers.first, idle]);
    clearTimeout(waiting);
  }
  if (servers.taken === undefined) throw noHandler(module);
  return toApp(module, own(servers.taken, servers));
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function own(handler: Handler, servers: AppServers): Handler {
  return handler.kind === "node" ? servers.hold(handler.server) : handler;
}
