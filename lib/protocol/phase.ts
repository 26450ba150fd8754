/**
 * The phases of a worker as its supervisor sees them: one total table of which side may send what when. A
 * message that is known but not permitted now is a violation like an unknown one.
 */
import type { ToSupervisor } from "./to_supervisor.ts";
import type { WorkerCommand } from "./to_worker.ts";

export type Phase =
  /** Spawned; it has sent nothing yet. */
  | "starting"
  /** Said hello; has its policy and gets its listeners. */
  | "introduced"
  | "configured"
  /** Holds its listeners. The runtime's IPC stays open for lanes that come later. */
  | "equipped"
  /** Imports and opens the app. */
  | "loading"
  /** Waits for the command to accept. */
  | "ready"
  | "opening"
  | "serving"
  | "draining"
  /** Accepts no more, and finishes what is in flight. */
  | "stopped"
  /** Has only WebSockets left, which stay. */
  | "kept"
  /** Sends nothing more. */
  | "done";

/** A message of a worker, or a command to it. */
export type Step = ToSupervisor["type"] | WorkerCommand;

type Row = Record<Step, Phase | "violation">;

const NOTHING: Row = {
  hello: "violation",
  received: "violation",
  ready: "violation",
  accepting: "violation",
  failed: "violation",
  pulse: "violation",
  stopped: "violation",
  kept: "violation",
  drained: "violation",
  configure: "violation",
  certificates: "violation",
  load: "violation",
  accept: "violation",
  flooded: "violation",
  drain: "violation",
};

/** After it was told to drain. It may be told again: that nothing is to stay. */
const stay = (phase: Phase) => ({ pulse: phase, flooded: phase, drain: phase });

/** What each step leads to. A cell that leads on permits its step once, one that stays permits it many times. */
export const NEXT: Record<Phase, Row> = {
  starting: { ...NOTHING, hello: "introduced", failed: "done" },
  introduced: { ...NOTHING, configure: "configured", failed: "done" },
  configured: { ...NOTHING, certificates: "configured", received: "equipped", failed: "done" },
  equipped: { ...NOTHING, load: "loading", failed: "done" },
  loading: { ...NOTHING, ready: "ready", failed: "done" },
  ready: { ...NOTHING, accept: "opening" },
  // A drain may overtake the worker's `accepting`.
  opening: { ...NOTHING, accepting: "serving", failed: "done", drain: "draining" },
  serving: { ...NOTHING, pulse: "serving", flooded: "serving", drain: "draining" },
  draining: { ...NOTHING, ...stay("draining"), accepting: "draining", stopped: "stopped" },
  stopped: { ...NOTHING, ...stay("stopped"), kept: "kept", drained: "done" },
  kept: { ...NOTHING, ...stay("kept"), drained: "done" },
  done: { ...NOTHING },
};
