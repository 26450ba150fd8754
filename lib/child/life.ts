/** The life of every process that the supervisor spawns, from its first message to its last. */
import process from "node:process";
import { HINT_MARK, MAX_REASON_LENGTH, PULSE_INTERVAL_MS } from "../protocol/limits.ts";
import type { ToSupervisor, WorkerStats } from "../protocol/to_supervisor.ts";
import type { Certificates, Configure, Grants, ToWorker } from "../protocol/to_worker.ts";
import { type AppSignals, keepAppSignals } from "./app_signals.ts";
import { Channel, ChannelClosed } from "./channel.ts";
import { dropPaths, findGrantFaults } from "./grants.ts";
import { HandOvers } from "./hand_over.ts";
import { hintOn } from "./failure_hint.ts";
import { giveNativeCodeUp, installLaterFilter } from "./later_filter.ts";
import { describeError, placesIn, report } from "./report.ts";

/** Exit status of a process that gave up; its reason went over the channel. */
const FAILED = 1;

// A terminal's Ctrl-C and hang-up, and a service manager's TERM, reach the whole process group. The
// supervisor gets them too and says what is to be done; a worker that obeyed would drop requests.
// SIGUSR2, to a whole control group, is the supervisor's too.
// SIGXFSZ comes with a write past the largest file size: one request fails by it, not the worker.
const IGNORED_SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM", "SIGUSR2", "SIGXFSZ"] as const;

// The app may put off an exit of its own; this process's own is not the app's to change.
const exit = Deno.exit;

type MessageOf<Type extends ToSupervisor["type"]> = Extract<ToSupervisor, { type: Type }>;

/** Why a process drains; `orphaned` when its supervisor is gone. */
export type DrainReason = Extract<ToWorker, { type: "drain" }>["reason"] | "orphaned";

/** What a process does between its steps. */
export interface Service {
  /** Imports what it is there for, and opens it; nothing is served before {@link Service.start}. */
  load(): Promise<void>;
  /** Tries what it has loaded, with what it has when it serves. */
  probe?(): Promise<void>;
  /** Begins to serve. */
  start(): MessageOf<"accepting">["engine"];
  figures(): WorkerStats;
  /**
   * Stops accepting connections, in a process that does.
   *
   * @param keep whether WebSockets stay
   */
  stop?(reason: DrainReason, keep: boolean): Promise<void>;
  /**
   * Finishes all but WebSockets that stay, says so, and waits until they have ended or may not stay any
   * more.
   */
  keep?(ended: Promise<DrainReason>, tell: () => void): Promise<void>;
  /** Finishes what is in flight. */
  drain(): Promise<Omit<MessageOf<"drained">, "type">>;
  /** The last thing: closes what {@link Service.load} opened. */
  close(): Promise<void>;
}

/** What a process is told before anything of the app is loaded, and what it takes. */
export interface Equipment {
  readonly configure: Configure;
  /** Handles of the listeners. */
  readonly listeners: readonly unknown[];
  /** What is handed over later. */
  readonly handOvers: HandOvers;
  /** Waits for the certificates, in a process that was told to end TLS. Nothing of them is kept. */
  nextCertificates(): Promise<Certificates>;
  /**
   * Resolves when nothing in the process goes on by itself any more: only what comes from outside could
   * change anything. To be asked once.
   */
  whenIdle(): Promise<void>;
}

/** What an entry file gives. */
export interface LifeOptions {
  readonly version: number;
  /** Makes the service, once it is known what for. */
  equip(equipment: Equipment): Service | Promise<Service>;
  /** Judges what the process was given; the default is {@link findGrantFaults}. */
  readonly judge?: (grants: Grants) => string[];
  /** Called before anything of the app is loaded; what it gives is called at the end. */
  readonly prepare?: (configure: Configure) => (() => void) | void;
  /** Gives up what was granted for the start alone; the default is {@link giveNativeCodeUp}. */
  readonly giveUp?: () => void;
}

/** Runs until it has drained, and exits. */
export async function runLife(options: LifeOptions): Promise<never> {
  for (const signal of IGNORED_SIGNALS) process.on(signal, () => {});
  const signals = keepAppSignals();
  const channel = new Channel();
  const handOvers = new HandOvers();
  try {
    // The runtime has what it needs by now, and nothing was loaded that is not Holdfast's.
    installLaterFilter();
    (options.giveUp ?? giveNativeCodeUp)();
    channel.send({ type: "hello", version: options.version, deno: Deno.version.deno });
    await live(channel, handOvers, signals, options);
    await channel.finish();
    return exit(0);
  } catch (error) {
    if (error instanceof ChannelClosed) return exit(0);
    const hint = HINT_MARK + hintOn(error);
    const reason = describeError(error).slice(0, MAX_REASON_LENGTH - hint.length) + hint;
    channel.send({ type: "failed", reason });
    await channel.finish();
    return exit(FAILED);
  }
}

async function live(
  channel: Channel,
  handOvers: HandOvers,
  signals: AppSignals,
  { equip, judge = findGrantFaults, prepare }: LifeOptions,
): Promise<void> {
  const configure = await channel.next("configure");
  const faults = judge(configure.grants);
  if (faults.length > 0) {
    throw new Error(`The permissions differ from the policy: ${faults.join("; ")}`);
  }
  const { roleConfig } = configure;
  const count = "listeners" in roleConfig ? roleConfig.listeners.length : 0;
  const lent = "lent" in roleConfig ? roleConfig.lent!.length : 0;
  const listeners = await handOvers.takeListeners(count - lent);
  const whenIdle = () => becomesIdle(channel);
  const nextCertificates = () => channel.next("certificates");
  const service = await equip({ configure, listeners, handOvers, nextCertificates, whenIdle });
  channel.send({ type: "received", listeners: listeners.length });

  await channel.next("load");
  const finish = prepare?.(configure);
  const restoreExit = tellExit();
  await service.load();
  dropPaths(configure.grants);
  await service.probe?.();
  restoreExit();
  channel.send({ type: "ready" });

  await channel.next("accept");
  channel.send({ type: "accepting", engine: service.start() });
  const pulse = setInterval(
    () => channel.send({ type: "pulse", ...service.figures() }),
    PULSE_INTERVAL_MS,
  );
  const { reason, keep = false } = await endOfService(channel);
  await service.stop?.(reason, keep);
  channel.send({ type: "stopped" });
  if (keep) {
    const ended = nextOrder(channel).then(({ reason }) => reason);
    await service.keep?.(ended, () => channel.send({ type: "kept" }));
  }
  signals.call();
  const drained = await service.drain();
  clearInterval(pulse);
  try {
    await service.close();
  } catch (error) {
    report(`close() threw: ${describeError(error)}`);
  }
  if (finish) finish();
  channel.send({ type: "drained", ...drained });
}

/** An exit before the app is ready says so, as the runtime says an error that nothing catches. */
function tellExit(): () => void {
  const { exit: exitAtOnce } = Deno;
  const told = (code?: number): never => {
    const [place] = placesIn(new Error().stack, 1);
    const where = place === undefined ? "" : ` (${place})`;
    report(
      `error: Uncaught exit: the app called exit(${
        code ?? 0
      }) before it was ready, which a server must not${where}`,
    );
    return exitAtOnce(code);
  };
  Deno.exit = told;
  return () => {
    if (Deno.exit === told) Deno.exit = exitAtOnce;
  };
}

/** The runtime says that it would end, were it not for the supervisor's word. */
function becomesIdle(channel: Channel): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const ipc = process.channel as { ref?(): void; unref?(): void } | undefined;
  channel.unref();
  ipc?.unref?.();
  addEventListener("beforeunload", (event) => {
    event.preventDefault();
    // What the app would do at its end is not due.
    event.stopImmediatePropagation();
    channel.ref();
    ipc?.ref?.();
    resolve();
  });
  return promise;
}

interface DrainOrder {
  readonly reason: DrainReason;
  readonly keep?: boolean | undefined;
}

/** Waits for the word to drain. A supervisor that is gone says the same. */
async function endOfService(channel: Channel): Promise<DrainOrder> {
  const order = await nextOrder(channel);
  if (order.reason === "orphaned") {
    report("The supervisor is gone; this process drains and leaves");
  }
  return order;
}

async function nextOrder(channel: Channel): Promise<DrainOrder> {
  try {
    return await channel.next("drain");
  } catch (error) {
    if (!(error instanceof ChannelClosed)) throw error;
    return { reason: "orphaned" };
  }
}
