/** Runs attempts in real processes, and sees from outside what came of them. */
import type { Attempt, Order, Report } from "./attempt.ts";
import type { Wall } from "../sandbox/wall.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { bringUp, killWorker } from "../supervisor/bring_up.ts";
import { bindListener, type Listener } from "../supervisor/listener.ts";
import { settlesWithin } from "../supervisor/patience.ts";
import { startSpawner } from "../supervisor/spawner.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import { Switchboard } from "../supervisor/switchboard.ts";
import { describeDeath, WorkerProcess } from "../supervisor/worker_process.ts";
import { type Cast, freeAddress, type Part, type Place } from "./cast.ts";
import { byCalls, byRequests, type Contact } from "./contact.ts";
import type { Mode } from "./mode.ts";
import { type RealPlaces, type Scene, SCENE_HELPER } from "./scene.ts";
import {
  describe,
  type Dialling,
  expectedOutcome,
  judge,
  type Observation,
  type Result,
} from "./verdict.ts";

/** What a proof from outside may need to arrive where none is expected: a datagram, a signal. */
const SETTLE_MS = 30;

/** How long one may take that is expected: a busy machine takes its time. */
const PROOF_MS = 10_000;

/** How long a suspect may take to be ended, or to end. */
const ENDING_MS = 30_000;

export interface AuditorOptions {
  readonly place: Place;
  readonly mode: Mode;
  readonly cast: Cast;
  readonly places: RealPlaces;
  readonly scene: Scene;
  /** The walls of the modes with a kernel's. */
  readonly wallOf: (part: Part) => Wall;
  /** How a part is spawned in this mode. */
  readonly requestOf: (part: Part) => Omit<SpawnRequest, "wall">;
  /** What of the network the suspect's policy gives. */
  readonly dialling: Dialling;
  readonly stress: boolean;
}

/** Where processes of a part come from, with a listener if they are workers. */
interface Source {
  readonly part: Part;
  readonly listener: Listener | undefined;
}

/** A process that lives, and how to speak to it. */
interface Actor {
  readonly process: WorkerProcess;
  readonly contact: Contact;
}

/** The processes around the suspect. */
type Neighbour = "sibling" | "helper" | "worker";

/** Makes attempts in one place and one mode. */
export class Auditor implements AsyncDisposable {
  readonly #options: AuditorOptions;
  readonly #switchboard = new Switchboard();
  readonly #sources: Source[] = [];
  #suspects!: Source;
  readonly #neighbours = new Map<Neighbour, Source>();
  readonly #living = new Map<Neighbour, Actor>();
  #processes = 0;
  #suspect: Actor | undefined;
  /** Whether nothing has happened in the suspect since it was spawned. */
  #fresh = false;

  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  static async open(options: AuditorOptions): Promise<Auditor> {
    const auditor = new Auditor(options);
    const { suspect, helperPart, workerPart } = options.cast;
    try {
      auditor.#suspects = await auditor.#source(suspect);
      auditor.#neighbours.set("sibling", await auditor.#source(suspect));
      auditor.#neighbours.set("helper", await auditor.#source(helperPart));
      if (workerPart) auditor.#neighbours.set("worker", await auditor.#source(workerPart));
      await auditor.#bringUpNeighbours();
    } catch (error) {
      await auditor[Symbol.asyncDispose]();
      throw error;
    }
    return auditor;
  }

  async #source(part: Part): Promise<Source> {
    const source = {
      part,
      listener: part.kind === "worker" ? await bindListener(freeAddress()) : undefined,
    };
    this.#sources.push(source);
    return source;
  }

  /** Sees to it that all are there; an attempt may have ended one. */
  async #bringUpNeighbours(): Promise<void> {
    await Promise.all([...this.#neighbours].map(async ([neighbour, source]) => {
      const actor = this.#living.get(neighbour);
      if (actor?.process.alive) return;
      this.#living.set(neighbour, await this.#spawn(source, neighbour));
    }));
  }

  /** Makes one attempt. Never fails: what goes wrong is part of the result. */
  async make(attempt: Attempt): Promise<Result> {
    const { place, mode, stress } = this.#options;
    const result = (outcome: Result["outcome"], detail: string, asExpected: boolean): Result => ({
      ...{ attempt, place, mode, outcome, detail, asExpected },
    });
    const skip = this.#reasonToSkip(attempt, stress);
    if (skip !== undefined) return result("skipped", skip, true);
    let observation: Observation;
    try {
      if (attempt.alone && !this.#fresh) await this.#dismiss();
      observation = await this.#observe(attempt);
      this.#fresh &&= isUntouched(observation);
      const spoiled = attempt.alone && !this.#fresh;
      if (spoiled || observation.death !== undefined) await this.#dismiss();
    } catch (error) {
      return result("unclear", `The audit itself failed: ${(error as Error).message}`, false);
    }
    const outcome = judge(attempt, observation);
    if (outcome === "refused" && mode.name === "neither" && this.#mayRefuse(attempt)) {
      return result("skipped", `refused without any wall: ${describe(observation)}`, true);
    }
    const asExpected = outcome === expectedOutcome(attempt, mode, this.#options.dialling);
    return result(outcome, describe(observation), asExpected);
  }

  /** Whether a refusal without any wall is the machine's, or that of an ordinary user's rights. */
  #mayRefuse(attempt: Attempt): boolean {
    return attempt.optional === true || !this.#isRoot();
  }

  #isRoot(): boolean {
    return Deno.uid() === 0 && this.#options.cast.suspect.compartment.account === undefined;
  }

  #reasonToSkip(attempt: Attempt, stress: boolean): string | undefined {
    const { only } = attempt;
    if (only !== undefined && !only.in.includes(this.#options.cast.suspect.kind)) return only.since;
    if (attempt.needs === "root" && !this.#isRoot()) return "only root could do it at all";
    if (!attempt.stress) return undefined;
    if (!stress) return "uses up what the machine has: run with --stress";
    return this.#options.mode.kernel ? undefined : "never without a wall";
  }

  async #observe(attempt: Attempt): Promise<Observation> {
    const { scene, places } = this.#options;
    await this.#bringUpNeighbours();
    if (this.#suspect === undefined) {
      this.#suspect = await this.#spawn(this.#suspects);
      this.#fresh = true;
    }
    const { process: suspect, contact } = this.#suspect;
    const world = scene.world(places, this.#pids());
    const before = scene.fingerprint();
    const contacts = scene.contacts;
    const answered = contact.commit({ id: attempt.id, world } satisfies Order)
      .catch(() => undefined);
    const died = suspect.exited.then(() => undefined);
    const report = await Promise.race([answered, died]);
    // Its connection may end before itself, as when it becomes another program.
    if (report === undefined) await settlesWithin(suspect.exited, ENDING_MS);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    // What the supervisor does about it may come after the answer.
    if (attempt.proof === "ended" && !report?.thrown) {
      await settlesWithin(suspect.exited, ENDING_MS);
    }
    const seen = {
      change: () => scene.fingerprint() !== before,
      contact: () => scene.contacts > contacts,
      decoy: () => !scene.decoyRuns,
    };
    if (attempt.proof in seen && this.#isDue(attempt, report)) {
      await holdsWithin(seen[attempt.proof as keyof typeof seen], PROOF_MS);
    }
    const after = scene.fingerprint();
    const death = suspect.alive ? undefined : describeDeath(await suspect.exited);
    const harm = attempt.proof === "bounded" ? await this.#findHarm() : undefined;
    const claims = !["undefined", "null", "false", undefined].includes(report?.returned);
    const proven = {
      secret: () => report?.returned?.includes(scene.secret) === true,
      ...seen,
      ended: () => death !== undefined && attempt.end?.test(death) === true && this.#allLive(),
      bounded: () => claims && harm === undefined,
      claim: () => claims,
    }[attempt.proof]();
    if (after !== before || !scene.decoyRuns) {
      scene.restore();
      // Files are stamped by a clock that ticks slowly: the next change must not look like this one.
      await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    }
    if (report === undefined && death === undefined) await this.#dismiss();
    return {
      report,
      proven,
      ...death !== undefined && { death },
      ...harm !== undefined && { harm },
    };
  }

  /** Whether a proof from outside must still come, if all is as it should be. */
  #isDue(attempt: Attempt, report: Report | undefined): boolean {
    const { mode, dialling } = this.#options;
    if (expectedOutcome(attempt, mode, dialling) !== "through") return false;
    // Of a signal nobody but the decoy can tell, whatever the suspect says.
    return attempt.proof === "decoy" || judge(attempt, { report, proven: false }) !== "refused";
  }

  #pids() {
    const pidOf = (neighbour: Neighbour) => this.#living.get(neighbour)?.process.pid;
    const siblingPid = pidOf("sibling")!;
    return { siblingPid, helperPid: pidOf("helper")!, workerPid: pidOf("worker") ?? siblingPid };
  }

  #allLive(): boolean {
    return [...this.#living.values()].every(({ process }) => process.alive);
  }

  /** What has come over the processes around the suspect, if anything has. */
  async #findHarm(): Promise<string | undefined> {
    const faults = await Promise.all([...this.#living].map(async ([name, actor]) => {
      const { process, contact } = actor;
      if (await contact.answers()) return undefined;
      if (process.alive) return `the ${name} does not answer any more`;
      return `the ${name} ${describeDeath(await process.exited)}`;
    }));
    const harmed = faults.find((fault) => fault !== undefined);
    if (harmed !== undefined) return harmed;
    const pids = [Deno.pid, ...[...this.#living.values()].map(({ process }) => process.pid!)];
    const [holder] = this.#options.scene.holders(pids);
    return holder === undefined ? undefined : `process ${holder} holds what it was sent`;
  }

  /** Brings up a process, with the lanes that one in its place has. */
  async #spawn({ part, listener }: Source, neighbour?: Neighbour): Promise<Actor> {
    const { requestOf, wallOf, mode, cast } = this.#options;
    const spawner = startSpawner();
    const { config } = cast;
    const process = new WorkerProcess(
      {
        id: ++this.#processes,
        generation: 0,
        onViolation: config.onViolation,
        role: part.duty?.role === "helper"
          ? { kind: "helper", name: part.duty.name, index: 0 }
          : { kind: "worker" },
      },
      spawner,
      { ...requestOf(part), wall: mode.kernel ? wallOf(part) : undefined },
    );
    void process.exited.then(() => spawner.close());
    await bringUp(process, {
      config: mode.kernel ? config : { ...config, wall: "deno" },
      listeners: listener ? [listener] : [],
      grants: workerGrants(part.compartment),
      signal: new AbortController().signal,
      ...part.duty && { duty: part.duty },
      ...part.kind === "worker" && {
        equip: () => {
          this.#switchboard.addWorker(process);
          return Promise.resolve();
        },
      },
    });
    if (listener) return { process, contact: byRequests(listener.text) };
    // The first lane is the auditor's own: a suspect tells it from the others by that.
    const contact = await byCalls(process);
    const helper = neighbour === "helper" ? SCENE_HELPER : cast.helper;
    // Its sibling is nobody's to call.
    if (helper !== undefined && neighbour !== "sibling") {
      this.#switchboard.addInstance(process, { helper, instance: 0 });
    }
    return { process, contact };
  }

  async #dismiss(): Promise<void> {
    const suspect = this.#suspect;
    this.#suspect = undefined;
    if (suspect) await killWorker(suspect.process);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#dismiss();
    await Promise.all([...this.#living.values()].map(({ process }) => killWorker(process)));
    for (const { listener } of this.#sources) listener?.close();
  }
}

/** Waits until something is so, but not for ever. */
async function holdsWithin(look: () => boolean, ms: number): Promise<void> {
  const endMs = performance.now() + ms;
  while (!look() && performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  }
}

/** Whether an attempt ended where it wanted its native hand: it has done nothing yet then. */
function isUntouched({ report, death }: Observation): boolean {
  return death === undefined && report?.thrown?.message.startsWith("Requires ffi access") === true;
}
