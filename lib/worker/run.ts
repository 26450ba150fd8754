/** The life of a worker, from its first message to its last. */
import process from "node:process";
import type { Grants } from "../protocol/to_worker.ts";
import { MAX_REASON_LENGTH, PULSE_INTERVAL_MS } from "../protocol/limits.ts";
import { type App, toApp } from "./app.ts";
import { Channel, ChannelClosed } from "./channel.ts";
import { drain } from "./drain.ts";
import type { Engine } from "./engine.ts";
import { findGrantFaults } from "./grants.ts";
import { receiveListeners } from "./listeners.ts";
import { createNativeEngine, detectNative, isNativeHandle } from "./native_engine.ts";
import { createNodeEngine } from "./node_engine.ts";
import { describeError, report } from "./report.ts";
import { Traffic } from "./traffic.ts";
import { trackWebSockets } from "./web_socket.ts";

/** Exit status of a worker that gave up; its reason went over the channel. */
const FAILED = 1;

// A terminal's Ctrl-C and hang-up, and a service manager's TERM, reach the whole process group. The
// supervisor gets them too and says what is to be done; a worker that obeyed would drop requests.
// SIGXFSZ comes with a write past the largest file size: one request fails by it, not the worker.
const IGNORED_SIGNALS = ["SIGHUP", "SIGINT", "SIGTERM", "SIGXFSZ"] as const;

/** What the entry file gives to the worker. */
export interface WorkerOptions {
  readonly version: number;
  /** Imports the app's module. */
  load(): Promise<Record<string, unknown>>;
  /** Judges what the worker was given; the default is {@link findGrantFaults}. */
  readonly judge?: (grants: Grants) => string[];
}

/** Runs a worker until it has drained, and exits. */
export async function runWorker(options: WorkerOptions): Promise<never> {
  for (const signal of IGNORED_SIGNALS) process.on(signal, () => {});
  const channel = new Channel();
  try {
    channel.send({ type: "hello", version: options.version, deno: Deno.version.deno });
    await live(channel, options);
    await channel.finish();
    Deno.exit(0);
  } catch (error) {
    if (error instanceof ChannelClosed) Deno.exit(0);
    const reason = describeError(error).slice(0, MAX_REASON_LENGTH);
    channel.send({ type: "failed", reason });
    await channel.finish();
    Deno.exit(FAILED);
  }
}

async function live(
  channel: Channel,
  { load, judge = findGrantFaults }: WorkerOptions,
): Promise<void> {
  const config = await channel.next("configure");
  const faults = judge(config.grants);
  if (faults.length > 0) {
    throw new Error(`The permissions differ from the policy: ${faults.join("; ")}`);
  }
  const handles = await receiveListeners(config.listeners.length);
  channel.send({ type: "received", listeners: handles.length });
  await channel.next("load");

  const traffic = new Traffic();
  const engines = chooseEngines(config.engine);
  trackWebSockets(traffic, engines.map((engine) => engine.upgrade));
  const app = toApp(await load());
  await app.open();
  channel.send({ type: "ready" });

  await channel.next("accept");
  const acceptors = handles.map((handle, index) =>
    engineFor(handle, engines).serve({
      handle,
      address: config.listeners[index]!,
      fetcher: app.fetcher,
      traffic,
    })
  );
  channel.send({ type: "accepting", engine: engines[0]!.name });

  const pulse = setInterval(
    () => channel.send({ type: "pulse", ...traffic.figures() }),
    PULSE_INTERVAL_MS,
  );
  await endOfService(channel);
  const drained = await drain(acceptors, traffic, config);
  clearInterval(pulse);
  await closeApp(app);
  channel.send({ type: "drained", ...drained });
}

/** Waits for the word to drain. A supervisor that is gone says the same. */
async function endOfService(channel: Channel): Promise<void> {
  try {
    await channel.next("drain");
  } catch (error) {
    if (!(error instanceof ChannelClosed)) throw error;
    report("The supervisor is gone; this worker drains and leaves");
  }
}

/** The engines in the order of preference; the last one serves every listener. */
function chooseEngines(wanted: Engine["name"]): Engine[] {
  const node = createNodeEngine();
  if (wanted === "node") return [node];
  const internals = detectNative();
  if (internals) return [createNativeEngine(internals), node];
  report(
    `Deno ${Deno.version.deno} lacks the internal API of the native engine; the node engine serves. ` +
      `Set "engine": "node" to be rid of this line`,
  );
  return [node];
}

function engineFor(handle: unknown, engines: readonly Engine[]): Engine {
  return engines.find((engine) => engine.name === "node" || isNativeHandle(handle))!;
}

async function closeApp(app: App): Promise<void> {
  try {
    await app.close();
  } catch (error) {
    report(`The app's close() threw: ${describeError(error)}`);
  }
}
