/** From a spawned process to one that serves. */
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import type { Grants, RoleConfig } from "../protocol/to_worker.ts";
import { bestEffort } from "./best_effort.ts";
import type { Listener } from "./listener.ts";
import { connectionLimit } from "./process_facts.ts";
import { requireConfined } from "./require_confined.ts";
import { settlesWithin } from "./timeouts.ts";
import { tlsPairs } from "./tls_files.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How long a killed worker may take to be gone before it is killed again. */
const KILL_AGAIN_MS = 1_000;

/** What a worker is brought up with. */
export interface BringUpOptions {
  readonly config: Config;
  readonly listeners: readonly Pick<Listener, "text" | "duplicate">[];
  /** What the worker is to find that it has. */
  readonly grants: Grants;
  /** What it is there for; the default is to be a worker of the config. */
  readonly roleConfig?: RoleConfig;
  /** Whether it is of a version that is tried: an incumbent serves meanwhile. */
  readonly tried?: boolean | undefined;
  /** Called before it loads anything of the app: the time to hand over more. */
  readonly beforeLoad?: () => Promise<void>;
  /** Called when it is ready: it accepts once this has settled. */
  readonly acceptBarrier?: () => Promise<void>;
  /** Gives it up. */
  readonly signal: AbortSignal;
}

/**
 * Brings up a worker until it accepts. Until it says that it is ready it accepts nothing, so that
 * giving it up loses nothing.
 *
 * @throws {HoldfastError} if it does not come up before `reload.readyDeadlineMs`; it is gone then
 * @throws the signal's reason when it aborts; it is gone then, too
 */
export async function bringUp(worker: WorkerProcess, options: BringUpOptions): Promise<void> {
  const { config, listeners, grants, signal } = options;
  const { roleConfig = workerRoleConfig(worker, options) } = options;
  const { readyDeadlineMs, idleGraceMs, drainDeadlineMs } = config.reload;
  let deadline = AbortSignal.timeout(readyDeadlineMs);
  let either = AbortSignal.any([signal, deadline]);
  let step = "say hello";
  try {
    await worker.expect("hello", either);
    if (config.wall === "kernel") requireConfined(worker);
    worker.giveImage();
    worker.command({
      type: "configure",
      roleConfig,
      grants,
      idleGraceMs,
      drainDeadlineMs,
    });
    step = "take its listeners";
    const { lent = [] } = roleConfig.role === "worker" ? roleConfig : {};
    handOver(worker, listeners.filter((_, index) => !lent.includes(index)));
    if (lent.length > 0) {
      giveEach(lent.map((index) => listeners[index]!), (descriptors) => worker.lend(descriptors));
      worker.command({ type: "certificates", pairs: tlsPairs(config).map((each) => [...each]) });
    }
    await worker.expect("received", either);
    // The app, whoever has it in his hands, gets none.
    if (worker.lend([]) > 0) throw notTaken(worker);
    step = "get its helpers";
    if (options.beforeLoad) await Promise.race([options.beforeLoad(), worker.failed(either)]);
    worker.command({ type: "load" });
    step = `load and open ${roleConfig.role === "worker" ? "the app" : "its module"}`;
    await worker.expect("ready", either);
    // What it waits for from here on has a deadline of its own, and is not its fault.
    if (options.acceptBarrier) await Promise.race([options.acceptBarrier(), worker.failed(signal)]);
    step = "accept";
    deadline = AbortSignal.timeout(readyDeadlineMs);
    either = AbortSignal.any([signal, deadline]);
    worker.command({ type: "accept" });
    await worker.expect("accepting", either);
  } catch (error) {
    await killWorker(worker);
    if (!deadline.aborted || error !== deadline.reason) throw error;
    throw new HoldfastError(`${worker.displayName} did not ${step} within ${readyDeadlineMs} ms`, {
      kind: "app",
      code: "worker_not_ready",
      hint:
        "It waits for what does not come, at its top or in open(), or the machine is busy: raise " +
        "reload.readyDeadlineMs if it only takes long",
    });
  }
}

/** Kills a worker and waits until it is gone. */
export async function killWorker(worker: WorkerProcess): Promise<void> {
  do {
    bestEffort("signal", () => worker.signal("SIGKILL"));
  } while (!await settlesWithin(worker.exited, KILL_AGAIN_MS));
}

/** The role config of a worker with these listeners. */
function workerRoleConfig(
  { pid = 0 }: WorkerProcess,
  { config, listeners, tried }: BringUpOptions,
): RoleConfig {
  const { penaltyExempt, ...http } = config.http;
  const { readiness: path, reload, trustedProxies: trusted } = config;
  const { shutdownDelayMs, spreadMs, probe = [], warmUp = [] } = reload;
  return {
    role: "worker",
    engine: config.engine,
    listeners: listeners.map(({ text }) => text),
    ...servedOf(config.listen),
    helpers: config.helpers.map(({ name, timeoutMs }) => ({ name, timeoutMs })),
    http: { ...http, maxConnections: connectionLimit(config, pid) },
    penaltyExempt: [...penaltyExempt],
    proxyProtocol: config.listen.flatMap(({ text, proxyProtocol }) => proxyProtocol ? text : []),
    spreadMs,
    access: accessOf(config.log),
    latency: config.metrics !== undefined,
    traces: config.traces !== undefined,
    ...trusted.length > 0 && {
      proxies: { trusted: [...trusted], header: config.clientAddressHeader },
    },
    ...tried && { probes: [...probe], warmUp: [...warmUp] },
    ...path !== undefined && { readiness: { path, shutdownDelayMs } },
  };
}

/** The common format has no room for what costs the worker most to find out. */
function accessOf({ folder, access }: Config["log"]) {
  if (folder === undefined || access === "off") return "off";
  return access === "common" ? "short" : "long";
}

/** Which of them are lent, and whether others send clients on to the first of these. */
function servedOf(listen: Config["listen"]) {
  const lent = listen.flatMap(({ tls }, index) => tls ? [index] : []);
  const redirects = listen.flatMap(({ redirect }, index) => redirect ? [index] : []);
  return { ...lent.length > 0 && { lent }, ...redirects.length > 0 && { redirects } };
}

function notTaken({ displayName }: WorkerProcess): HoldfastError {
  const message = `${displayName} did not take all of its listeners`;
  return new HoldfastError(message, { kind: "bug", code: "listener_not_taken" });
}

/** Hands a descriptor of each listener over to a worker. */
function handOver(worker: WorkerProcess, listeners: BringUpOptions["listeners"]): void {
  giveEach(listeners, (descriptors) => {
    worker.handOver(descriptors.map((descriptor, index) => ({
      descriptor,
      kind: {
        family: listeners[index]!.text.startsWith("unix:") ? "unix" : "tcp",
        use: "listener",
      },
      message: { type: "listener" },
    })));
  });
}

/** Gives a descriptor of each to whoever takes them; none is left behind if that fails. */
function giveEach(
  listeners: BringUpOptions["listeners"],
  take: (descriptors: number[]) => void,
): void {
  const descriptors: number[] = [];
  try {
    for (const listener of listeners) descriptors.push(listener.duplicate());
    take(descriptors);
  } catch (error) {
    descriptors.forEach(closeDescriptor);
    throw error;
  }
}
