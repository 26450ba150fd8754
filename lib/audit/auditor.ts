/** Runs attempts in real workers, and sees from outside what came of them. */
import { Report } from "./attempt.ts";
import type { Attempt, World } from "./attempt.ts";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import type { Wall } from "../sandbox/wall.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { bringUp, killWorker } from "../supervisor/bring_up.ts";
import { bindListener, type Listener } from "../supervisor/listener.ts";
import { settlesWithin } from "../supervisor/patience.ts";
import { type Spawner, startSpawner } from "../supervisor/spawner.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import { describeDeath, WorkerProcess } from "../supervisor/worker_process.ts";
import type { Mode } from "./mode.ts";
import type { RealPlaces, Scene } from "./scene.ts";
import {
  describe,
  type Dialling,
  expectedOutcome,
  judge,
  type Observation,
  type Result,
} from "./verdict.ts";

/** How long the suspect may take to answer; longer than its own patience. */
const ANSWER_MS = 12_000;

/** What the proofs from outside may need to arrive: a datagram, a signal. */
const SETTLE_MS = 30;

/** How often an attempt is made that fails otherwise than expected. */
const TRIES = 3;

/** How long a suspect may take to be ended, or to end. */
const ENDING_MS = 3_000;

export interface AuditorOptions {
  readonly mode: Mode;
  readonly config: Config;
  readonly places: RealPlaces;
  readonly scene: Scene;
  /** The wall of the modes with a kernel's. */
  readonly wall: Wall;
  /** What of the network the policy gives. */
  readonly dialling: Dialling;
  /** How a suspect is spawned in this mode. */
  readonly request: SpawnRequest;
  readonly stress: boolean;
}

/** Makes attempts in one mode. */
export class Auditor implements AsyncDisposable {
  readonly #options: AuditorOptions;
  readonly #listener: Listener;
  /** The sibling must not get what is meant for the suspect. */
  readonly #siblingListener: Listener;
  readonly #spawner: Spawner;
  /** Another one, since each generation of workers has its own: what comes from one, shares its wall. */
  readonly #siblingSpawner: Spawner;
  #workers = 0;
  #suspect: WorkerProcess | undefined;
  #sibling: WorkerProcess | undefined;

  constructor(
    options: AuditorOptions,
    [spawner, siblingSpawner]: readonly [Spawner, Spawner],
    [suspects, siblings]: Listener[],
  ) {
    this.#options = options;
    this.#listener = suspects!;
    this.#siblingListener = siblings!;
    this.#spawner = spawner;
    this.#siblingSpawner = siblingSpawner;
  }

  static async open(options: AuditorOptions): Promise<Auditor> {
    const listeners: Listener[] = [];
    for (const address of options.config.listen) listeners.push(await bindListener(address));
    const spawners = [startSpawner(), startSpawner()] as const;
    const auditor = new Auditor(options, spawners, listeners);
    try {
      for (const spawner of spawners) {
        await spawner.confine(options.mode.kernel ? options.wall : undefined);
      }
      auditor.#sibling = await auditor.#spawn(auditor.#siblingListener, auditor.#siblingSpawner);
    } catch (error) {
      await auditor[Symbol.asyncDispose]();
      throw error;
    }
    return auditor;
  }

  /**
   * Makes one attempt. Never fails: what goes wrong is part of the result. One that failed otherwise
   * than expected is made again, in a fresh worker, since a busy machine may make it late; one that
   * got through never is.
   */
  async make(attempt: Attempt): Promise<Result> {
    for (let left = TRIES - 1;; left--) {
      const result = await this.#try(attempt);
      if (result.asExpected || result.outcome === "through" || left === 0) return result;
      await this.#dismiss();
    }
  }

  async #try(attempt: Attempt): Promise<Result> {
    const { mode, stress } = this.#options;
    const skip = this.#reasonToSkip(attempt, stress);
    if (skip !== undefined) {
      return { attempt, mode, outcome: "skipped", detail: skip, asExpected: true };
    }
    let observation: Observation;
    try {
      if (attempt.alone) await this.#dismiss();
      observation = await this.#observe(attempt);
      if (attempt.alone || observation.death !== undefined) await this.#dismiss();
    } catch (error) {
      const detail = `The audit itself failed: ${(error as Error).message}`;
      return { attempt, mode, outcome: "unclear", detail, asExpected: false };
    }
    const outcome = judge(attempt, observation);
    if (outcome === "refused" && mode.name === "neither" && this.#mayRefuse(attempt)) {
      const detail = `refused without any wall: ${describe(observation)}`;
      return { attempt, mode, outcome: "skipped", detail, asExpected: true };
    }
    const asExpected = outcome === expectedOutcome(attempt, mode, this.#options.dialling);
    return { attempt, mode, outcome, detail: describe(observation), asExpected };
  }

  /** Whether a refusal without any wall is the machine's, or that of an ordinary user's rights. */
  #mayRefuse(attempt: Attempt): boolean {
    return attempt.optional === true || !this.#isRoot();
  }

  #isRoot(): boolean {
    return Deno.uid() === 0 && this.#options.config.account === undefined;
  }

  #reasonToSkip(attempt: Attempt, stress: boolean): string | undefined {
    if (attempt.needs === "root" && !this.#isRoot()) return "only root could do it at all";
    if (!attempt.stress) return undefined;
    if (!stress) return "uses up what the machine has: run with --stress";
    return this.#options.mode.kernel ? undefined : "never without a wall";
  }

  async #observe(attempt: Attempt): Promise<Observation> {
    const { scene, places, config } = this.#options;
    const suspect = this.#suspect ??= await this.#spawn(this.#listener);
    const world = scene.world(places, this.#sibling!.pid!);
    const before = scene.fingerprint();
    const contacts = scene.contacts;
    const answered = ask(config, attempt.id, world).catch(() => undefined);
    const died = suspect.exited.then(() => undefined);
    const report = await Promise.race([answered, died]);
    // Its connection may end before itself, as when it becomes another program.
    if (report === undefined) await settlesWithin(suspect.exited, ENDING_MS);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    // What the supervisor does about it may come after the answer.
    if (attempt.proof === "ended" && !report?.thrown) {
      await settlesWithin(suspect.exited, ENDING_MS);
    }
    const after = scene.fingerprint();
    const death = suspect.alive ? undefined : describeDeath(await suspect.exited);
    const proven = {
      secret: () => report?.returned?.includes(scene.secret) === true,
      change: () => after !== before,
      contact: () => scene.contacts > contacts,
      decoy: () => !scene.decoyRuns,
      ended: () => death !== undefined && attempt.end?.test(death) === true && this.#sibling!.alive,
      claim: () => !["undefined", "null", "false", undefined].includes(report?.returned),
    }[attempt.proof]();
    if (after !== before || !scene.decoyRuns) {
      scene.restore();
      // Files are stamped by a clock that ticks slowly: the next change must not look like this one.
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
    if (report === undefined && death === undefined) await this.#dismiss();
    return { report, proven, ...death !== undefined && { death } };
  }

  async #spawn(listener: Listener, spawner = this.#spawner): Promise<WorkerProcess> {
    const { config, request, mode } = this.#options;
    const worker = new WorkerProcess(
      { id: ++this.#workers, generation: 0, onViolation: config.onViolation },
      spawner,
      request,
    );
    await bringUp(worker, {
      config: mode.kernel ? config : { ...config, wall: "deno" },
      listeners: [listener],
      grants: workerGrants(config),
      signal: new AbortController().signal,
    });
    return worker;
  }

  async #dismiss(): Promise<void> {
    const suspect = this.#suspect;
    this.#suspect = undefined;
    if (suspect) await killWorker(suspect);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dismiss();
    if (this.#sibling) await killWorker(this.#sibling);
    this.#spawner.close();
    this.#siblingSpawner.close();
    this.#listener.close();
    this.#siblingListener.close();
  }
}

async function ask(config: Config, id: string, world: World): Promise<Report> {
  const response = await fetch(`http://${config.listen[0]!.text}/`, {
    method: "POST",
    // A kept connection would outlive its suspect.
    headers: { connection: "close" },
    body: JSON.stringify({ id, world }),
    signal: AbortSignal.timeout(ANSWER_MS),
  });
  if (response.status !== 200) {
    throw new HoldfastError(await response.text(), { kind: "bug", code: "audit_order" });
  }
  return Report.parse(await response.json());
}
