/** How the processes of a config are launched: program, wall, environment, in a confined spawner. */
import type { Compartment, Config } from "../config/config.ts";
import { type Wall, type Walled, workerWall } from "../sandbox/wall.ts";
import {
  type Command,
  type Commanded,
  workerEnvironment,
  workerGrants,
  workerProgram,
} from "../sandbox/worker_command.ts";
import { attempt } from "./attempt.ts";
import type { Code, GenerationCode } from "./generation_code.ts";
import type { SlotSpawning } from "./generation_slots.ts";
import type { Modules, OwnPrograms } from "./prepare.ts";
import { requireWall } from "./require_wall.ts";
import type { RuntimeKeeper } from "./runtime_keeper.ts";
import type { ConfinedSpawner } from "./process_starter.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import type { System } from "./system.ts";

/** What Holdfast brings for the processes of a config. */
export interface Programs extends OwnPrograms {
  /** The folder of the Holdfast that brings them. */
  readonly holdfast: string;
  readonly denoDir: string;
}

/** A process to be: what it is granted, what it runs, and the files of its module graph. */
export interface Planned {
  readonly who: Commanded;
  readonly compartment: Walled;
  readonly bundle: string;
  readonly modulesOf: (code: Code) => readonly string[];
}

const NO_MODULES: Modules = { app: [], helpers: {} };

export class Launches {
  readonly #system: System;
  readonly #runtime: Pick<RuntimeKeeper, "folder" | "lockFile">;
  readonly #environment = Deno.env.toObject();
  /** By the folder of the Holdfast that brings them: it is another one in a newer executable. */
  readonly #programs = new Map<string, Programs>();
  /** The number of the newest process, over all generations. */
  lastWorker = 0;

  constructor(system: System, runtime: Pick<RuntimeKeeper, "folder" | "lockFile">) {
    this.#system = system;
    this.#runtime = runtime;
  }

  readonly nextWorker = (): number => ++this.lastWorker;

  /** What every config needs, made once. */
  async programsOf(config: Config): Promise<Programs> {
    const holdfast = this.#system.holdfastOf(config);
    const known = this.#programs.get(holdfast);
    if (known !== undefined) return known;
    const loading = this.#system.loadPrograms(config, this.#runtime.folder);
    // What is being made in the runtime folder is removed before a failure is told.
    const settled = loading.then(() => {}, () => {});
    const denoDir = await this.#system.findDenoDir(config).finally(() => settled);
    const programs = { holdfast, denoDir, ...await loading };
    this.#programs.set(holdfast, programs);
    return programs;
  }

  /** What the incumbent does not need is not needed: a reload to it reads it anew. */
  forgetPrograms(kept: string): void {
    for (const holdfast of [...this.#programs.keys()]) {
      if (holdfast !== kept) this.#programs.delete(holdfast);
    }
  }

  /** By this a logger, or a metrics process, is known to be the one that another config asks for. */
  async planOf(config: Config, planned: Planned, duty: unknown): Promise<string> {
    const { denoDir } = await this.programsOf(config);
    const command = this.#system.commandOf(config, planned.who, planned.compartment);
    const request = this.#spawnRequest(config, command, planned, denoDir, 0);
    // Not with Deno's caches, of which the names come and go with every command of Deno's.
    const wall = this.#wallOf(config, command, planned, { denoDir, modules: NO_MODULES }, []);
    const plain = (_: string, value: unknown) => typeof value === "bigint" ? `${value}` : value;
    return JSON.stringify([request, wall, duty], plain);
  }

  /** What a program of Holdfast's own is spawned with. */
  async prepareOwn(config: Config, planned: Planned, spawner: Spawner, generation: number) {
    return {
      ...await this.prepareSpawning(config, planned, spawner, generation),
      grants: workerGrants(planned.compartment),
      nextWorker: this.nextWorker,
    };
  }

  /** Builds the wall of a process around a spawner, and around each that comes after it. */
  async prepareSpawning(
    config: Config,
    planned: Planned,
    spawner: Spawner,
    generation: number,
    own?: GenerationCode,
  ): Promise<SlotSpawning> {
    const { denoDir, spawner: program } = await this.programsOf(config);
    const confine = async (around: Spawner, code: Code): Promise<ConfinedSpawner> => {
      // What lies at a name is asked each time: the deno program above all may be another one by then.
      const command = this.#system.commandOf(config, planned.who, planned.compartment);
      await around.confine(this.#wallOf(config, command, planned, code));
      const request = this.#spawnRequest(config, command, planned, code.denoDir, generation);
      return { spawner: around, request };
    };
    const first = own?.code ?? { denoDir, modules: NO_MODULES };
    return {
      first: await confine(spawner, first),
      next: async () => {
        const code = await own?.renew() ?? first;
        const another = this.#system.startSpawner(program);
        try {
          return await confine(another, code);
        } catch (error) {
          attempt("close the spawner", () => another.close());
          throw error;
        }
      },
    };
  }

  /** The kernel's layer for a process of this config; an error where the machine has none. */
  #wallOf(
    config: Config,
    { program: denoProgram, files }: Command,
    { compartment, modulesOf }: Planned,
    code: Code,
    caches = this.#system.findCaches(code.denoDir),
  ): Wall | undefined {
    if (config.wall === "deno") return undefined;
    const abi = this.#system.landlockAbi();
    requireWall(abi);
    const forbidden = this.#runtime.lockFile;
    return workerWall(compartment, {
      arch: Deno.build.arch,
      abi,
      caches,
      denoProgram,
      modules: [...files, ...modulesOf(code)],
      forbidden,
    });
  }

  #spawnRequest(
    { log }: Config,
    { program, args, env, input }: Command,
    { who, compartment, bundle }: Planned,
    denoDir: string,
    generation: number,
  ): SpawnRequest {
    const { account, app }: Compartment = compartment;
    // What is Holdfast's own imports no module of the app's project.
    const imports = who !== "logger" && who !== "metrics";
    const source = input === "nothing" ? "" : imports ? workerProgram(bundle, app.module) : bundle;
    return {
      ...{ program, args },
      env: {
        ...workerEnvironment(compartment, this.#environment, denoDir, generation),
        ...env,
      },
      cwd: app.project,
      source,
      output: {
        lineBytes: log.outputLineBytes,
        bytesPerSecond: log.outputBytesPerSecond,
        burstBytes: log.outputBurstBytes,
      },
      account: account && { uid: account.uid, gid: account.gid },
    };
  }
}
