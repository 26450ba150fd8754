/**
 * The life of a worker as its supervisor sees it: one total table of what may be said when, by
 * either side. A message that is known but not permitted now is a violation like an unknown one.
 */
import type { ToSupervisor } from "./to_supervisor.ts";
import type { CommandName } from "./to_worker.ts";

export type Phase =
  /** Spawned; nothing heard yet. */
  | "starting"
  /** Said hello; has its policy and gets its listeners. */
  | "introduced"
  | "configured"
  /** Holds its listeners, IPC is closed. */
  | "equipped"
  /** Imports and opens the app. */
  | "loading"
  /** Waits for the word to accept. */
  | "ready"
  | "opening"
  | "serving"
  | "draining"
  /** Accepts no more, and finishes what is in flight. */
  | "stopped"
  /** Has nothing more to say. */
  | "done";

/** A message of a worker, or a command to it. */
export type Step = ToSupervisor["type"] | CommandName;

type Row = Record<Step, Phase | "violation">;

const NOTHING: Row = {
  hello: "violation",
  received: "violation",
  ready: "violation",
  accepting: "violation",
  failed: "violation",
  pulse: "violation",
  stopped: "violation",
  drained: "violation",
  configure: "violation",
  load: "violation",
  accept: "violation",
  drain: "violation",
};

/** What each step leads to. A cell that leads on permits its step once, one that stays permits it many times. */
export const NEXT: Record<Phase, Row> = {
  starting: { ...NOTHING, hello: "introduced", failed: "done" },
  introduced: { ...NOTHING, configure: "configured", failed: "done" },
  configured: { ...NOTHING, received: "equipped", failed: "done" },
  equipped: { ...NOTHING, load: "loading", failed: "done" },
  loading: { ...NOTHING, ready: "ready", failed: "done" },
  ready: { ...NOTHING, accept: "opening" },
  // A drain may overtake the worker's word that it accepts.
  opening: { ...NOTHING, accepting: "serving", failed: "done", drain: "draining" },
  serving: { ...NOTHING, pulse: "serving", drain: "draining" },
  draining: { ...NOTHING, pulse: "draining", accepting: "draining", stopped: "stopped" },
  stopped: { ...NOTHING, pulse: "stopped", drained: "done" },
  done: { ...NOTHING },
};
