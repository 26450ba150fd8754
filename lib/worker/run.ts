/** The worker process: serves HTTP with an app. */
import {
  type DrainReason,
  type Equipment,
  type LifeOptions,
  runLife,
  type Service,
} from "../child/life.ts";
import { report } from "../child/report.ts";
import type { App, Fetcher, Handler } from "./app.ts";
import { AppServers } from "./app_servers.ts";
import { ClientAddress } from "./client_address.ts";
import { drain, drainAround, type Drained, stopAccepting, untilEmpty } from "./drain.ts";
import type { Acceptor, Engine } from "./engine.ts";
import { AccessSender } from "./access_sender.ts";
import { Helpers } from "./helpers.ts";
import { LatencyHistogram } from "./latency.ts";
import { loadApp } from "./load_app.ts";
import { createNativeEngine, detectNative, isNativeHandle } from "./native_engine.ts";
import { NodeApp } from "./node_app.ts";
import { createNodeEngine } from "./node_engine.ts";
import { Limits } from "./limits.ts";
import { probeApp } from "./probe.ts";
import { Readiness } from "./readiness.ts";
import { redirectTo } from "./redirect.ts";
import { beginSpan } from "./span.ts";
import { isTlsListener } from "./accept_tls.ts";
import { KeptNames } from "./server_names.ts";
import { withLent } from "./tls_listeners.ts";
import { Traffic } from "./traffic.ts";
import { trackWebSockets } from "./web_socket.ts";

/** Options of the entry file. */
export interface WorkerOptions extends Omit<LifeOptions, "equip"> {
  /** Imports the app's module. */
  load(): Promise<Record<string, unknown>>;
  /** What answers in place of the app's handler; the default is that itself. */
  readonly answerBy?: (handler: Handler) => Handler;
}

/** Runs a worker until it has drained, and exits. */
export async function runWorker(
  { load, answerBy = (handler) => handler, ...options }: WorkerOptions,
): Promise<never> {
  const kept = new KeptNames();
  const equip = async (equipment: Equipment) =>
    serveApp(
      { ...equipment, listeners: await withLent(equipment, kept) },
      { load, answerBy },
      kept,
    );
  return await runLife({ ...options, equip });
}

function serveApp(
  { configure, listeners, handOvers, whenIdle }: Equipment,
  { load, answerBy }: Required<Pick<WorkerOptions, "load" | "answerBy">>,
  kept: KeptNames,
): Service {
  const { roleConfig } = configure;
  if (roleConfig.role !== "worker") throw new Error(`A worker was told to be a ${roleConfig.role}`);
  const helpers = new Helpers(roleConfig.helpers);
  const access = roleConfig.access === "off" ? undefined : new AccessSender(roleConfig.access);
  handOvers.subscribe((handed) => {
    if (handed.message.type === "log_lane" && access) access.take(handed.handle);
    else helpers.take(handed);
  });
  const traffic = new Traffic();
  const limits = new Limits(traffic, roleConfig.http, roleConfig.penaltyExempt);
  const latency = roleConfig.latency ? new LatencyHistogram() : undefined;
  const readiness = roleConfig.readiness && new Readiness(roleConfig.readiness);
  const proxies = roleConfig.proxies && new ClientAddress(roleConfig.proxies);
  const engines = chooseEngines(roleConfig.engine);
  const servers = new AppServers(roleConfig.listeners);
  const begin = roleConfig.traces ? beginSpan : () => () => {};
  const endStart = begin("start");
  let app: App;
  let acceptors: Acceptor[] = [];
  let endDrain: ReturnType<typeof begin> = () => {};
  /** What came of the part of the drain in which WebSockets stayed. */
  let around: Drained = { answered: 0, cut: 0 };
  const spreadFor = (reason: DrainReason) => reason === "replaced" ? roleConfig.spreadMs : 0;
  return {
    load: async () => {
      trackWebSockets(traffic, engines.map((engine) => engine.upgrade), limits);
      helpers.install();
      servers.install();
      app = await loadApp({ load, servers, whenIdle });
      await app.open();
    },
    probe: async () => {
      const { probes = [], warmUp = [], lent = [], listeners: [address = ""] } = roleConfig;
      if (probes.length + warmUp.length === 0) return;
      const secure = lent.includes(0);
      await probeApp({ handler: app.handler, address, secure, probes, warmUp });
    },
    start: () => {
      limits.start();
      const common = { traffic, limits, access: access?.log, proxies };
      const handler = answerBy(app.handler);
      const addressed = listeners.map((handle, index) => ({
        handle,
        address: roleConfig.listeners[index]!,
        proxyProtocol: roleConfig.proxyProtocol?.includes(roleConfig.listeners[index]!) ?? false,
      }));
      const serveBy = (fetcher: Fetcher, listener: (typeof addressed)[number]) =>
        engineFor(listener.handle, engines).serve({ ...common, ...listener, fetcher });
      const { redirects = [], lent = [] } = roleConfig;
      let serve: (listener: (typeof addressed)[number]) => Acceptor;
      if (handler.kind === "node") {
        const { server } = handler;
        const nodeApp = new NodeApp({ ...common, server, readiness, latency });
        if (lent.length > 0) throw new TypeError(NODE_OVER_TLS);
        serve = (listener) => nodeApp.serve(listener);
      } else {
        const answering = readiness ? readiness.wrap(handler.fetcher) : handler.fetcher;
        const fetcher = latency ? latency.wrap(answering) : answering;
        serve = (listener) => serveBy(fetcher, listener);
      }
      acceptors = addressed.map((listener, index) => {
        if (!redirects.includes(index)) return serve(listener);
        const redirecting = redirectTo(roleConfig.listeners[lent[0]!]!);
        return serveBy(readiness ? readiness.wrap(redirecting) : redirecting, listener);
      });
      const engine = handler.kind === "node" ? "node" : engines[0]!.name;
      endStart({ engine });
      return engine;
    },
    figures: () => ({
      ...traffic.figures(),
      ...limits.figures(),
      ...kept.figures(),
      ...latency && { latency: latency.figures() },
    }),
    flooded: (peers) => peers.forEach((peer) => limits.flooded(peer)),
    stop: async (reason, keep) => {
      endDrain = begin("drain", { reason });
      await readiness?.announce(reason);
      await stopAccepting(acceptors, traffic, spreadFor(reason), keep);
    },
    keep: async (ended, tell) => {
      const end = new AbortController();
      const ending = ended.then((reason) => {
        traffic.endWebSockets(reason === "replaced", spreadFor(reason));
        end.abort();
      });
      around = await drainAround(traffic, configure, end.signal);
      if (traffic.connections.size === 0) return;
      if (!end.signal.aborted) tell();
      await Promise.race([untilEmpty(traffic, end.signal), ending]);
    },
    drain: async () => {
      const last = await drain(traffic, configure);
      const drained = { answered: around.answered + last.answered, cut: around.cut + last.cut };
      await access?.finish();
      endDrain({ ...drained });
      return drained;
    },
    close: () => {
      servers.end();
      return app.close();
    },
  };
}

const NODE_OVER_TLS =
  "A server of node:http cannot serve HTTPS here yet: export { fetch }, or let a " +
  "proxy in front end TLS";

/** The engines in the order of preference; the last one serves every listener. */
function chooseEngines(wanted: Engine["name"]): Engine[] {
  const node = createNodeEngine();
  if (wanted === "node") return [node];
  const internals = detectNative();
  if (internals) return [createNativeEngine(internals), node];
  report(
    `Deno ${Deno.version.deno} lacks the internal API of the native engine; the node engine serves. ` +
      `Set "engine": "node" to remove this message`,
  );
  return [node];
}

function engineFor(handle: unknown, engines: readonly Engine[]): Engine {
  const native = isNativeHandle(handle) || isTlsListener(handle);
  const found = engines.find(({ name }) => name === (native ? "native" : "node")) ??
    engines.find(() => !isTlsListener(handle));
  if (found === undefined) {
    throw new Error("HTTPS needs the native engine, which cannot serve here");
  }
  return found;
}
