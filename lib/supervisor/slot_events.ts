/** What a place for one process can be in, what it hears, and what it does then. */
import type { DrainCause } from "./drain.ts";
import type { Recycle } from "./health.ts";

interface DeathFacts {
  readonly how: string;
  readonly livedMs: number;
}

export type SlotState =
  /** Nothing was started yet. */
  | "empty"
  /** The first process is brought up: if that fails, whoever asked is told. */
  | "starting"
  | "serving"
  /** It serves, and another one is brought up to take its place. */
  | "replacing"
  /** It died while that one is brought up. */
  | "replacing_lost"
  /** It died, and another one is brought up when a wait is over. */
  | "waiting"
  /** That one is brought up. */
  | "restarting"
  /** It died, or did not come up, and none takes its place. */
  | "ended"
  /** It was told to finish what it has; none is brought up any more. */
  | "draining"
  /** The same, but that its WebSockets may stay. */
  | "keeping"
  /** It was killed; none is brought up any more. */
  | "cut"
  /** Everything is let go of. */
  | "closed";

export type SlotEvent =
  | { readonly type: "start" }
  /** The one that was brought up serves; for how long the one before it did until it was last heard. */
  | { readonly type: "ready"; readonly answeringMs: number }
  /** The one that was brought up is gone. */
  | { readonly type: "startFailed"; readonly reason: string }
  /** The one that served has ended; whether another one waits to serve. */
  | { readonly type: "died"; readonly servedMs: number; readonly spare: boolean } & DeathFacts
  | { readonly type: "recycle"; readonly recycle: Recycle }
  /** A wait is over. */
  | { readonly type: "timer" }
  /** Whether WebSockets may stay; in a slot where they do, that they may not any more. */
  | { readonly type: "drain"; readonly cause: DrainCause; readonly keep: boolean }
  | { readonly type: "cut" }
  /** No process of the slot is left. */
  | { readonly type: "close" };

export type SlotAct =
  /** Brings up a process: the outcome is an event. */
  | { readonly act: "bringUp" }
  /** Waits: the end is an event. */
  | { readonly act: "wait"; readonly ms: number }
  /** Gives up what is brought up, and waits no more. */
  | { readonly act: "abort"; readonly why: string }
  /** Makes the one that came up the process of the slot; with a cause, the one before it drains. */
  | { readonly act: "takePlace"; readonly recycle?: Recycle }
  /** Has the process drain: it is waited for, and so is every one that drains already. */
  | { readonly act: "drain"; readonly cause: DrainCause; readonly keep: boolean }
  /** Has its WebSockets end; for which limit, if for one. */
  | { readonly act: "letGo"; readonly cause: DrainCause; readonly recycle?: Recycle }
  /** Has one drain that came up too late; without a cause it is killed. */
  | { readonly act: "endLate"; readonly cause: DrainCause | undefined }
  /** Kills all. */
  | { readonly act: "kill" }
  /** Lets go of what no process has used. */
  | { readonly act: "closeSpawner" }
  /** Logs it. */
  | { readonly act: "tellLost" } & DeathFacts
  | { readonly act: "tellStartFailed"; readonly reason: string; readonly nextTryMs: number }
  | { readonly act: "tellUnhealthy"; readonly recycle: Recycle };
