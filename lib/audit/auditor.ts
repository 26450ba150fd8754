/** Runs attempts in real processes, and sees from outside what came of them. */
import { lookup } from "node:dns/promises";
import type { Attempt, Order, Report } from "./attempt.ts";
import type { Wall } from "../sandbox/wall.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { bringUp, killWorker } from "../supervisor/bring_up.ts";
import { bindListener, type Listener } from "../supervisor/listener.ts";
import { settlesWithin } from "../supervisor/timeouts.ts";
import { names } from "../supervisor/names.ts";
import { startSpawner } from "../supervisor/spawner.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import { HelperLanes } from "../supervisor/lanes.ts";
import { describeDeath, WorkerProcess } from "../supervisor/worker_process.ts";
import { freeAddress, type ProcessSpec, type Setup, type Target } from "./setup.ts";
import { callClient, type Client, httpClient } from "./client.ts";
import type { Mode } from "./mode.ts";
import { type Fixture, FIXTURE_HELPER, type RealPaths } from "./fixture.ts";
import {
  classify,
  describe,
  expectedOutcome,
  type Held,
  type Observation,
  type Result,
} from "./verdict.ts";

/** How long to wait for a proof from outside, such as a datagram, where none is expected. */
const SETTLE_MS = 30;

/** How long to wait for a proof that is expected; a busy machine takes its time. */
const PROOF_MS = 10_000;

/** How long a subject may take to be ended, or to end. */
const ENDING_MS = 30_000;

export interface AuditorOptions {
  readonly target: Target;
  readonly mode: Mode;
  readonly setup: Setup;
  readonly paths: RealPaths;
  readonly fixture: Fixture;
  /** The walls of the modes with a kernel's. */
  readonly wallOf: (spec: ProcessSpec) => Wall;
  /** How a process is spawned in this mode. */
  readonly requestOf: (spec: ProcessSpec) => Omit<SpawnRequest, "wall">;
  /** What the subject's own policy leaves it. */
  readonly held: Held;
  readonly stress: boolean;
}

/** Where processes of one spec come from, with a listener if they are workers. */
interface Source {
  readonly spec: ProcessSpec;
  readonly listener: Listener | undefined;
}

/** A running process, and a client of it. */
interface RunningProcess {
  readonly process: WorkerProcess;
  readonly client: Client;
}

/** The processes around the subject. */
type Neighbour = "sibling" | "helper" | "worker";

/** Makes attempts against one target in one mode. */
export class Auditor implements AsyncDisposable {
  readonly #options: AuditorOptions;
  readonly #lanes = new HelperLanes();
  readonly #sources: Source[] = [];
  /** Processes of one spawner share its wall, so the subject and its sibling have one each. */
  #subjects!: Source;
  readonly #neighbours = new Map<Neighbour, Source>();
  readonly #living = new Map<Neighbour, RunningProcess>();
  #processes = 0;
  #subject: RunningProcess | undefined;
  /** Whether nothing has happened in the subject since it was spawned. */
  #fresh = false;

  constructor(options: AuditorOptions) {
    this.#options = options;
  }

  static async open(options: AuditorOptions): Promise<Auditor> {
    const auditor = new Auditor(options);
    const { subject, helperSpec, workerSpec } = options.setup;
    try {
      auditor.#subjects = await auditor.#source(subject);
      auditor.#neighbours.set("sibling", await auditor.#source(subject));
      auditor.#neighbours.set("helper", await auditor.#source(helperSpec));
      if (workerSpec) auditor.#neighbours.set("worker", await auditor.#source(workerSpec));
      await auditor.#bringUpNeighbours();
    } catch (error) {
      await auditor[Symbol.asyncDispose]();
      throw error;
    }
    return auditor;
  }

  async #source(spec: ProcessSpec): Promise<Source> {
    const source = {
      spec,
      listener: spec.kind === "worker" ? await bindListener(freeAddress()) : undefined,
    };
    this.#sources.push(source);
    return source;
  }

  /** Sees to it that all are there; an attempt may have ended one. */
  async #bringUpNeighbours(): Promise<void> {
    await Promise.all([...this.#neighbours].map(async ([neighbour, source]) => {
      const running = this.#living.get(neighbour);
      if (running?.process.alive) return;
      this.#living.set(neighbour, await this.#spawn(source, neighbour));
    }));
  }

  /** Makes one attempt. Never fails: what goes wrong is part of the result. */
  async make(attempt: Attempt): Promise<Result> {
    const { target, mode, stress } = this.#options;
    const result = (outcome: Result["outcome"], detail: string, asExpected: boolean): Result => ({
      ...{ attempt, target, mode, outcome, detail, asExpected },
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
    const outcome = classify(attempt, observation);
    if (outcome === "refused" && mode.name === "neither" && this.#mayRefuse(attempt)) {
      return result("skipped", `refused without any wall: ${describe(observation)}`, true);
    }
    const asExpected = outcome === expectedOutcome(attempt, mode, this.#options.held);
    return result(outcome, describe(observation), asExpected);
  }

  /** Whether a refusal without any wall is the machine's, or that of an ordinary user's rights. */
  #mayRefuse(attempt: Attempt): boolean {
    return attempt.optional === true || !this.#isRoot();
  }

  #isRoot(): boolean {
    return Deno.uid() === 0 && this.#options.setup.subject.compartment.account === undefined;
  }

  #reasonToSkip(attempt: Attempt, stress: boolean): string | undefined {
    const { only } = attempt;
    if (only !== undefined && !only.in.includes(this.#options.setup.subject.kind)) {
      return only.since;
    }
    if (attempt.withTls && this.#options.paths.keyFile === "") return "no HTTPS is served";
    if (attempt.needs === "root" && !this.#isRoot()) return "only root could do it at all";
    if (!attempt.stress) return undefined;
    if (!stress) return "uses up what the machine has: run with --stress";
    return this.#options.mode.kernel ? undefined : "never without a wall";
  }

  async #observe(attempt: Attempt): Promise<Observation> {
    const { fixture, paths } = this.#options;
    await this.#bringUpNeighbours();
    if (this.#subject === undefined) {
      this.#subject = await this.#spawn(this.#subjects);
      this.#fresh = true;
    }
    const { process: subject, client } = this.#subject;
    const world = fixture.world(paths, this.#pids());
    const before = fixture.fingerprint();
    const contacts = fixture.contacts;
    const answered = client.runAttempt({ id: attempt.id, world } satisfies Order)
      .catch(() => undefined);
    const died = subject.exited.then(() => undefined);
    const report = await Promise.race([answered, died]);
    // Its connection may end before itself, as when it becomes another program.
    if (report === undefined) await settlesWithin(subject.exited, ENDING_MS);
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    // What the supervisor does about it may come after the answer.
    if (attempt.proof === "ended" && !report?.thrown) {
      await settlesWithin(subject.exited, ENDING_MS);
    }
    const seen = {
      change: () => fixture.fingerprint() !== before,
      contact: () => fixture.contacts > contacts,
      canary: () => !fixture.canaryRuns,
    };
    if (attempt.proof in seen && this.#isDue(attempt, report)) {
      await holdsWithin(seen[attempt.proof as keyof typeof seen], PROOF_MS);
    }
    const after = fixture.fingerprint();
    const death = subject.alive ? undefined : describeDeath(await subject.exited);
    const harm = attempt.proof === "bounded" ? await this.#findHarm() : undefined;
    const claims = !["undefined", "null", "false", undefined].includes(report?.returned);
    const proven = {
      secret: () => report?.returned?.includes(fixture.secret) === true,
      ...seen,
      ended: () =>
        death !== undefined && endingsOf(death).some((each) => attempt.end?.test(each)) &&
        this.#allLive(),
      bounded: () => claims && harm === undefined,
      claim: () => claims,
    }[attempt.proof]();
    if (after !== before || !fixture.canaryRuns) {
      fixture.restore();
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
    const { mode, held } = this.#options;
    if (expectedOutcome(attempt, mode, held) !== "through") return false;
    // Only the canary can tell whether a signal arrived, whatever the subject says.
    return attempt.proof === "canary" || classify(attempt, { report, proven: false }) !== "refused";
  }

  #pids() {
    const pidOf = (neighbour: Neighbour) => this.#living.get(neighbour)?.process.pid;
    const siblingPid = pidOf("sibling")!;
    return { siblingPid, helperPid: pidOf("helper")!, workerPid: pidOf("worker") ?? siblingPid };
  }

  #allLive(): boolean {
    return [...this.#living.values()].every(({ process }) => process.alive);
  }

  /** What harm was done to the processes around the subject, if any. */
  async #findHarm(): Promise<string | undefined> {
    const faults = await Promise.all([...this.#living].map(async ([name, running]) => {
      const { process, client } = running;
      if (await client.answers()) return undefined;
      if (process.alive) return `the ${name} does not answer any more`;
      return `the ${name} ${describeDeath(await process.exited)}`;
    }));
    const harmed = faults.find((fault) => fault !== undefined);
    if (harmed !== undefined) return harmed;
    const pids = [Deno.pid, ...[...this.#living.values()].map(({ process }) => process.pid!)];
    const [holder] = this.#options.fixture.holders(pids);
    return holder === undefined ? undefined : `process ${holder} holds what it was sent`;
  }

  /** Brings up a process, with the lanes that one of its kind has. */
  async #spawn(
    { spec, listener }: Source,
    neighbour?: Neighbour,
  ): Promise<RunningProcess> {
    const { requestOf, wallOf, mode, setup } = this.#options;
    const spawner = startSpawner();
    const { config } = setup;
    const request = requestOf(spec);
    const wall = mode.kernel ? wallOf(spec) : undefined;
    names.setSource(async (name) => {
      const found = await lookup(name, { all: true });
      return found.map(({ address }) => address);
    });
    const process = new WorkerProcess(
      {
        id: ++this.#processes,
        generation: 0,
        onViolation: config.onViolation,
        role: spec.roleConfig?.role === "helper"
          ? { kind: "helper", name: spec.roleConfig.name, index: 0 }
          : { kind: "worker" },
      },
      spawner,
      { ...request, wall },
    );
    void process.exited.then(() => spawner.close());
    await bringUp(process, {
      config: mode.kernel ? config : { ...config, wall: "deno" },
      listeners: listener ? [listener] : [],
      grants: this.#grantsOf(spec),
      signal: new AbortController().signal,
      ...spec.roleConfig && { roleConfig: spec.roleConfig },
      ...spec.kind === "worker" && {
        beforeLoad: () => {
          this.#lanes.connectWorker(process);
          return Promise.resolve();
        },
      },
    });
    if (listener) return { process, client: httpClient(listener.text) };
    // The first lane is the auditor's own: a subject tells it from the others by that.
    const client = await callClient(process);
    const helper = neighbour === "helper" ? FIXTURE_HELPER : setup.helper;
    // No worker calls its sibling.
    if (helper !== undefined && neighbour !== "sibling") {
      this.#lanes.connectHelper(process, { helper, instance: 0 });
    }
    return { process, client };
  }

  /** With every permission of Deno's there is none that could be given up. */
  #grantsOf({ compartment }: ProcessSpec) {
    const { drop, ...grants } = workerGrants(compartment);
    return this.#options.mode.deno && drop ? { ...grants, drop } : grants;
  }

  async #dismiss(): Promise<void> {
    const subject = this.#subject;
    this.#subject = undefined;
    if (subject) await killWorker(subject.process);
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

/** How a death reads, and that without what the process had said of it. */
function endingsOf(death: string): string[] {
  return [death, death.replace(/^.*\((.*)\)$/s, "$1")];
}

/** Whether an attempt ended where it wanted its native hand: it has done nothing yet then. */
function isUntouched({ report, death }: Observation): boolean {
  return death === undefined && report?.thrown?.message.startsWith("Requires ffi access") === true;
}
