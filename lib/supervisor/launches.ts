/** How the processes of a config are launched: program, wall, environment, in a confined spawner. */
import { dirname } from "node:path";
import type { Compartment, Config, Unveil } from "../config/config.ts";
import { unlessAbsent } from "../config/real_place.ts";
import type { OwnPrograms } from "../planner/programs.ts";
import { ownCode, type ProcessCode } from "../sandbox/process_code.ts";
import { emptyingCompartment, emptyingProgram, withTemporary } from "../sandbox/temporary.ts";
import { type Wall, type Walled, workerWall } from "../sandbox/wall.ts";
import {
  type Command,
  type Commanded,
  imageInput,
  interpretsAlone,
  workerEnvironment,
  workerGrants,
} from "../sandbox/worker_command.ts";
import { AccountTable } from "./accounts.ts";
import { takesImageLater } from "./child_ends.ts";
import type { EarlyStart } from "./early_spawner.ts";
import { envFileValues, readEnvFile } from "./env_file.ts";
import type { GenerationCode } from "./generation_code.ts";
import { imagesIn } from "./image_store.ts";
import type { SlotSpawning } from "./generation_slots.ts";
import { knownConfig, type PlannedConfig, type ReadConfig } from "./read_config.ts";
import { requireReadable } from "./require_readable.ts";
import { requireWall } from "./require_wall.ts";
import { type PlannerOptions, runPlanner } from "./run_planner.ts";
import type { ConfinedSpawner } from "./process_starter.ts";
import type { RuntimeKeeper } from "./runtime_keeper.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import type { System } from "./system.ts";
import { type Empty, runToEnd, TemporaryFolders } from "./temporary_folders.ts";

/** What Holdfast brings for the processes of a config. */
export interface Programs extends OwnPrograms {
  /** The folder of the Holdfast that brings them. */
  readonly holdfast: string;
}

/** A process to be: what it is granted, and what it runs. */
export interface Planned {
  readonly who: Commanded;
  readonly compartment: Walled;
  readonly bundle: string;
}

export class Launches {
  readonly #system: System;
  readonly #runtime: Pick<RuntimeKeeper, "folder" | "lockFile" | "openTo">;
  readonly #signal: AbortSignal;
  readonly #environment = Deno.env.toObject();
  /** By the folder of the Holdfast that brings them: it is another one in a newer executable. */
  readonly #programs = new Map<string, Programs>();
  readonly accounts = new AccountTable();
  readonly temporary = new TemporaryFolders((...all) => this.#empty(...all));
  /** The number of the newest process, over all generations. */
  lastWorker = 0;

  constructor(
    system: System,
    runtime: Pick<RuntimeKeeper, "folder" | "lockFile" | "openTo">,
    signal: AbortSignal,
  ) {
    this.#system = system;
    this.#runtime = runtime;
    this.#signal = signal;
  }

  readonly nextWorker = (): number => ++this.lastWorker;

  /**
   * What every config needs, made once.
   *
   * @param config the default is the one that was read last
   * @param wall what holds whatever is started to make it
   */
  async programsOf(config?: Config, wall?: Config["wall"]): Promise<Programs> {
    const holdfast = this.#system.holdfastOf(config);
    const known = this.#programs.get(holdfast);
    if (known !== undefined) return known;
    const programs = {
      holdfast,
      ...await this.#system.loadPrograms(holdfast, this.#runtime.folder, this.#signal, wall),
    };
    this.#programs.set(holdfast, programs);
    return programs;
  }

  /** What the incumbent does not need is not needed: a reload to it reads it anew. */
  forgetPrograms(kept: string): void {
    for (const holdfast of [...this.#programs.keys()]) {
      if (holdfast !== kept) this.#programs.delete(holdfast);
    }
  }

  /**
   * Plans what a config means, and what its processes run.
   *
   * @param folder the runtime folder in which that is kept
   * @param begun called when it is under way
   */
  async plan(
    read: ReadConfig,
    folder: string,
    { begun = () => {}, mayWiden = true }: Partial<Pick<PlannerOptions, "begun" | "mayWiden">> = {},
  ): Promise<PlannedConfig> {
    const { planner, spawner, cache, holdfast } = await this.programsOf();
    const { folder: runtime, lockFile } = this.#runtime;
    const images = imagesIn(folder);
    const planned = await this.#system.planCode(read, (packed) =>
      runPlanner({
        ...{ system: this.#system, read, packed, holdfast, spawner, cache, program: planner! },
        ...{ images, runtime, lockFile, environment: this.#environment },
        ...{ signal: this.#signal, begun, mayWiden },
      }));
    const { config, code } = planned;
    if (code.judgement) this.accounts.learn(code.judgement, config);
    await this.#runtime.openTo(folder, this.accounts.groupOf(config));
    await requireReadable(config, images, spawner);
    return planned;
  }

  /**
   * Judges a config that is brought back as a new one: what its paths lead to may be something else by
   * now. Its image stays what it was.
   */
  async judgeAgain(
    { config, code: { folder, plan: kept } }: PlannedConfig,
  ): Promise<PlannedConfig> {
    const isThere = (path: string) => unlessAbsent(() => Deno.statSync(path)).size !== undefined;
    const now = (each: Unveil) => ({ ...each, exists: isThere(each.path) });
    const helpers = config.helpers.map((each) => ({ ...each, unveil: each.unveil.map(now) }));
    const known = knownConfig({ ...config, unveil: config.unveil.map(now), helpers });
    return await this.plan({ ...known, kept }, dirname(dirname(folder!)));
  }

  /** With the account that it is to have from now on. */
  #withAccount(config: Config, planned: Planned): Planned {
    const account = this.accounts.of(config, planned.who);
    return { ...planned, compartment: { ...planned.compartment, account } };
  }

  /** By this a logger, or a metrics process, is known to be the one that another config asks for. */
  planOf(config: Config, planned: Planned, roleConfig: unknown): string {
    const code = ownCode();
    const request = this.#requestOf(config, this.#withAccount(config, planned), code, 0);
    const plain = (_: string, value: unknown) => typeof value === "bigint" ? `${value}` : value;
    return JSON.stringify([request, roleConfig], plain);
  }

  /** What a program of Holdfast's own is spawned with. */
  async prepareOwn(config: Config, planned: Planned, spawner: Spawner, generation: number) {
    const { request, next } = await this.prepareSpawning(config, planned, generation);
    return {
      ...{ first: { spawner, request }, next },
      grants: workerGrants(planned.compartment),
      nextWorker: this.nextWorker,
    };
  }

  /** Builds the wall of a process, and that of each that comes after it. */
  async prepareSpawning(
    config: Config,
    planned: Planned,
    generation: number,
    own?: GenerationCode,
  ): Promise<Pick<SlotSpawning, "next"> & Omit<ConfinedSpawner, "spawner">> {
    const { spawner: program } = await this.programsOf(config);
    const owned = this.#withAccount(config, planned);
    await readEnvFile(config);
    const prepare = async () => {
      const code = (await own?.get())?.processes[planned.who] ?? ownCode();
      return {
        request: this.#requestOf(config, owned, code, generation),
        ...owned.compartment.tmp && { lend: () => this.#lend(config, owned, code, generation) },
      };
    };
    return {
      ...await prepare(),
      next: async () => {
        const again = await prepare();
        return { spawner: this.#system.startSpawner(program), ...again };
      },
    };
  }

  /** A folder for temporary files, and the process that it is for. */
  async #lend(config: Config, planned: Planned, code: ProcessCode, generation: number) {
    const { account } = planned.compartment;
    const { path, end } = await this.temporary.make(this.#runtime.folder, account, config);
    try {
      const compartment = withTemporary(planned.compartment, path);
      const request = this.#requestOf(config, { ...planned, compartment }, code, generation);
      return { request: { ...request, temporary: path }, end };
    } catch (error) {
      end();
      throw error;
    }
  }

  readonly #empty: Empty = async (path, account, config) => {
    const { spawner } = await this.programsOf(config);
    // It installs no second program, and so is granted no native code for it.
    const native = config.wall === "kernel";
    const compartment = { ...emptyingCompartment(path, account, config), native };
    const planned = { who: "worker", compartment, bundle: emptyingProgram(path) } as const;
    const request = this.#requestOf(config, planned, ownCode(), 0);
    await runToEnd(this.#system.startSpawner(spawner), { ...request, cwd: "/" });
  };

  /**
   * What is known of a process before it is planned, if it is to be what it is of another config. It is
   * given no modules. Nothing where a process must have them when it starts.
   */
  startEarly(
    config: Config,
    planned: Planned,
    generation: number,
    own: Pick<GenerationCode, "current">,
    spawnerProgram: string | undefined,
  ): EarlyStart[] {
    const { who, bundle, compartment } = planned;
    const code = own.current.processes[who];
    // A folder for temporary files is of one process, and made with it.
    if (!takesImageLater(bundle) || code === undefined || compartment.tmp) return [];
    const known = { ...code, image: undefined };
    const asked = this.#requestOf(config, this.#withAccount(config, planned), known, generation);
    const request = { ...asked, image: () => "" };
    return [{ who, request, startSpawner: () => this.#system.startSpawner(spawnerProgram) }];
  }

  /** What lies at a name is asked each time: the deno program above all may be another one by then. */
  #requestOf(
    config: Config,
    planned: Planned,
    code: ProcessCode,
    generation: number,
  ): SpawnRequest {
    const command = this.#system.commandOf(config, planned.who, planned.compartment, code);
    const wall = this.#wallOf(config, command, planned, code);
    const request = this.#spawnRequest(config, command, planned, code, generation);
    return { ...request, wall };
  }

  /** The kernel's layer for a process of this config; an error where the machine has none. */
  #wallOf(
    config: Config,
    command: Command,
    { compartment }: Planned,
    code: ProcessCode,
  ): Wall | undefined {
    if (config.wall === "deno") {
      if (!compartment.native) return undefined;
      throw new Error("Native code is held by the kernel's wall alone, and the config has none");
    }
    const abi = this.#system.landlockAbi();
    requireWall(abi);
    const forbidden = this.#runtime.lockFile;
    return workerWall(compartment, {
      arch: Deno.build.arch,
      abi,
      denoProgram: command.program,
      files: command.files,
      interpretsAlone: interpretsAlone(command),
      code,
      forbidden,
    });
  }

  #spawnRequest(
    config: Config,
    { program, args, env }: Command,
    { compartment, bundle }: Planned,
    { image, packagesFrom, denoDir }: ProcessCode,
    generation: number,
  ): Omit<SpawnRequest, "wall"> {
    const { log } = config;
    const { account, app }: Compartment = compartment;
    const environment = { ...this.#environment, ...envFileValues(config) };
    return {
      ...{ program, args },
      env: {
        ...workerEnvironment(compartment, environment, denoDir, generation),
        // The project's own is in the image, as far as it counts.
        ...packagesFrom !== undefined && { DENO_NO_PACKAGE_JSON: "1" },
        ...env,
      },
      ...{ cwd: app.project, source: bundle },
      // What is Holdfast's own runs no image.
      image: image === undefined || packagesFrom === undefined
        ? undefined
        : () => imageInput(Deno.readTextFileSync(image), packagesFrom),
      output: {
        lineBytes: log.outputLineBytes,
        bytesPerSecond: log.outputBytesPerSecond,
        burstBytes: log.outputBurstBytes,
      },
      account: account && { uid: account.uid, gid: account.gid },
    };
  }
}
