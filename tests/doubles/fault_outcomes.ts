/** What becomes of a supervisor of which an effect fails: one table, for fake processes and for real ones. */
import type { FaultName } from "./fault_name.ts";

/** What an effect that fails leads to, in each part of a supervisor's life. */
export interface Outcome {
  /** The start fails with the fault's own message, or does not use the effect. */
  readonly start: "fails" | "unused";
  /** The reload is refused, or is done since the switch is behind it, or does not use the effect. */
  readonly reload: "refused" | "done" | "unused";
  /** Stopping uses the effect, and ends all the same. */
  readonly stop: "ends" | "unused";
}

const BRINGS_UP: Outcome = { start: "fails", reload: "refused", stop: "unused" };
const ONCE: Outcome = { start: "fails", reload: "unused", stop: "unused" };

/** Every effect; a new one does not compile until it is here. */
const OUTCOMES: Record<FaultName, Outcome> = {
  closeIn: ONCE,
  openServiceManager: ONCE,
  giveUpPermissions: ONCE,
  readConfig: BRINGS_UP,
  // Commands ask for it, the supervisor has the config.
  locateRuntime: { start: "unused", reload: "unused", stop: "unused" },
  commandOf: BRINGS_UP,
  // A part of planCode, which is no process of its own here.
  plannerCommand: { start: "unused", reload: "unused", stop: "unused" },
  holdfastOf: BRINGS_UP,
  openRuntimeFolder: ONCE,
  // By a reload only where each release has a runtime folder of its own, or with an account.
  makePrivateFolder: ONCE,
  loadPrograms: ONCE,
  openProcessRecord: ONCE,
  openControl: ONCE,
  planCode: BRINGS_UP,
  makeFolders: BRINGS_UP,
  landlockAbi: BRINGS_UP,
  // Only when a generation has served for a while.
  releaseMemory: { start: "unused", reload: "unused", stop: "unused" },
  bindListener: BRINGS_UP,
  startSpawner: BRINGS_UP,
  "spawner spawn": BRINGS_UP,
  "child handOver": BRINGS_UP,
  // What its processes run has no image.
  "child giveImage": { start: "unused", reload: "unused", stop: "unused" },
  "child lend": BRINGS_UP,
  "child configure": BRINGS_UP,
  // Only where HTTPS is served.
  "child certificates": { start: "unused", reload: "unused", stop: "unused" },
  "child load": BRINGS_UP,
  "child accept": BRINGS_UP,
  "child flooded": { start: "unused", reload: "unused", stop: "unused" },
  "child drain": { start: "unused", reload: "done", stop: "ends" },
  "child signal": { start: "unused", reload: "unused", stop: "ends" },
  "spawner close": { start: "unused", reload: "done", stop: "ends" },
  "listener duplicate": BRINGS_UP,
  "listener waiting": { start: "unused", reload: "unused", stop: "unused" },
  "listener listenAgain": { start: "unused", reload: "unused", stop: "unused" },
  "listener setBack": { start: "unused", reload: "unused", stop: "unused" },
  "listener update": { start: "fails", reload: "done", stop: "unused" },
  "listener close": { start: "unused", reload: "done", stop: "ends" },
  ownProgram: { start: "unused", reload: "unused", stop: "unused" },
  "control duplicate": { start: "unused", reload: "unused", stop: "unused" },
  "control close": { start: "unused", reload: "unused", stop: "ends" },
  "runtime close": { start: "unused", reload: "unused", stop: "ends" },
};

const ENTRIES = Object.entries(OUTCOMES) as [FaultName, Outcome][];

/** The effects of which a part of a supervisor's life has this outcome. */
export function faultsThat<Part extends keyof Outcome>(
  part: Part,
  outcome: Outcome[Part],
): FaultName[] {
  return ENTRIES.filter(([name, outcomes]) =>
    outcomes[part] === outcome &&
    // At start there is nothing to update: what was just bound is as it should be.
    !(part === "start" && name === "listener update")
  ).map(([name]) => name);
}
