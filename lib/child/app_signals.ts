/**
 * Signals as the app has them. A terminal's Ctrl-C and a service manager's TERM reach the whole process
 * group, and an app that handles them by itself, as every example for containers does, would leave with
 * requests in flight. So its handlers are kept here, and called when the drain begins: that is what TERM
 * means to it. An exit that they ask for comes when the drain is over.
 */
import { EventEmitter } from "node:events";
import process from "node:process";
import { describeError, report } from "./report.ts";

/**
 * What the supervisor decides on; HUP is a reload, of which the app hears nothing. The last three are faults of
 * the process itself: Node lets an app listen for them, and Deno does not.
 */
const KEPT = ["SIGHUP", "SIGINT", "SIGTERM", "SIGILL", "SIGFPE", "SIGSEGV"] as const;
type Kept = (typeof KEPT)[number];

/** What a drain is to the app: the first of these that it handles. */
const MEANS_DRAIN = ["SIGTERM", "SIGINT"] as const;
const NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;

/** Methods of an emitter whose first argument is an event. */
const METHODS = [
  "on",
  "once",
  "addListener",
  "prependListener",
  "prependOnceListener",
  "off",
  "removeListener",
  "listeners",
  "rawListeners",
  "listenerCount",
  "emit",
] as const;

type Method = (...all: unknown[]) => unknown;

const isKept = (event: unknown): event is Kept => KEPT.includes(event as Kept);

/** The handlers of the app. */
export interface AppSignals {
  /** Calls those that are for the end; whatever they do, the drain goes on. */
  call(): void;
}

/**
 * Keeps the app's handlers from here on. To be called before anything of the app is loaded, and after
 * the process has handlers of its own.
 */
export function keepAppSignals(): AppSignals {
  const kept = new EventEmitter();
  kept.setMaxListeners(0);
  const target = process as unknown as Record<string, Method>;
  const emitter = kept as unknown as Record<string, Method>;
  for (const name of METHODS) {
    const original = target[name]!.bind(process);
    target[name] = (event, ...rest) => {
      if (!isKept(event)) return original(event, ...rest);
      const result = emitter[name]!(event, ...rest);
      return result === kept ? process : result;
    };
  }
  const removeAll = target.removeAllListeners!.bind(process);
  target.removeAllListeners = (event) => {
    // Without an event it would take this process's own away as well.
    if (event === undefined) KEPT.forEach((each) => kept.removeAllListeners(each));
    else if (isKept(event)) kept.removeAllListeners(event);
    else removeAll(event);
    return process;
  };
  keepDenoListeners(kept);
  return {
    call: () => {
      const signal = MEANS_DRAIN.find((each) => kept.listenerCount(each) > 0);
      if (signal === undefined) return;
      putOffExits();
      for (const handler of kept.rawListeners(signal)) callOne(handler, signal);
    },
  };
}

function keepDenoListeners(kept: EventEmitter): void {
  const { addSignalListener, removeSignalListener } = Deno;
  Deno.addSignalListener = (signal, handler) => {
    if (isKept(signal)) kept.on(signal, handler);
    else addSignalListener(signal, handler);
  };
  Deno.removeSignalListener = (signal, handler) => {
    if (isKept(signal)) kept.off(signal, handler);
    else removeSignalListener(signal, handler);
  };
}

function callOne(handler: CallableFunction, signal: keyof typeof NUMBERS): void {
  const failed = (error: unknown) =>
    report(`The app's handler of ${signal} threw: ${describeError(error)}`);
  try {
    const result: unknown = Reflect.apply(handler, process, [signal, NUMBERS[signal]]);
    if (result instanceof Promise) result.catch(failed);
  } catch (error) {
    failed(error);
  }
}

/** From here on an exit is what comes anyway, once what is in flight is answered. */
function putOffExits(): void {
  const putOff = (() => {}) as (code?: unknown) => never;
  // What `process.exit()` comes down to, however it was imported.
  Deno.exit = putOff;
  // It would call the app's listeners of `exit` before that.
  process.exit = putOff;
}
