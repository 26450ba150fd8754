/**
 * Every effect of the supervisor that can fail, behind one interface: tests make each of them fail
 * in turn and see that the old generation goes on.
 */
import type { Compartment, Config, ListenAddress } from "../config/config.ts";
import { locateRuntime, readConfigText, type RuntimePlace } from "../config/runtime_place.ts";
import { spelledPath } from "../config/spelled_path.ts";
import { readArguments } from "../os/file.ts";
import { landlockAbi } from "../os/landlock.ts";
import { releaseMemory } from "../os/release_memory.ts";
import type { AccountTable } from "./accounts.ts";
import { HOLDFAST_FOLDER, type OwnPrograms } from "../planner/programs.ts";
import type { PackedImage } from "../protocol/packed_image.ts";
import type { ProcessCode } from "../sandbox/process_code.ts";
import {
  type Command,
  type Commanded,
  denoCommand,
  plannerCommand,
} from "../sandbox/worker_command.ts";
import { type ControlHandlers, type ControlServer, openControl } from "./control_server.ts";
import { denoProgram, nextDenoProgram } from "./deno_program.ts";
import { closeIn, giveUpPermissions } from "./narrow.ts";
import type { ServiceBequest } from "./inheritance.ts";
import { bindListener, type Listener } from "./listener.ts";
import { findDenoDir } from "./image_store.ts";
import { loadPrograms } from "./load_programs.ts";
import { makeFolders } from "./make_folders.ts";
import { openProcessRecord, type ProcessRecord } from "./process_record.ts";
import type { PlannedConfig, ReadConfig } from "./read_config.ts";
import {
  makePrivateFolder,
  openRuntimeFolder,
  type RuntimeFolder,
  type WorkersGroup,
} from "./runtime_folder.ts";
import { ServiceManager } from "./service_manager.ts";
import { type Spawner, startSpawner } from "./spawner.ts";

export interface System {
  closeIn(): void;
  /** @param left what the supervisor before this one in the same process knew of it */
  openServiceManager(left?: ServiceBequest): ServiceManager;
  giveUpPermissions(): void;
  /** Reads a config as far as it takes to take its lock. */
  readConfig(file: string): Promise<ReadConfig>;
  /** The runtime folder of a config that may be wrong by now. */
  locateRuntime(file: string): Promise<RuntimePlace>;
  /**
   * The folder of the Holdfast that processes of a config run: of this one, or of a newer file.
   *
   * @param config the default is the one that was read last
   */
  holdfastOf(config?: Config): string;
  openRuntimeFolder(folder: string, gid?: WorkersGroup): Promise<RuntimeFolder>;
  makePrivateFolder(folder: string, gid?: WorkersGroup): Promise<void>;
  /**
   * @param holdfast the folder of the Holdfast that brings them
   * @param folder where they may lie while they are made
   * @param wall what holds the process that makes them
   */
  loadPrograms(
    holdfast: string,
    folder: string,
    signal: AbortSignal,
    wall?: Config["wall"],
  ): Promise<OwnPrograms>;
  openProcessRecord(folder: string): ProcessRecord;
  openControl(path: string, handlers: ControlHandlers, fd?: number): Promise<ControlServer>;
  /**
   * Plans what the processes of a config run, and checks the config against it.
   *
   * @param plan plans it: what an executable brings, or what is in the project
   */
  planCode(
    read: ReadConfig,
    plan: (packed?: PackedImage) => Promise<PlannedConfig>,
  ): Promise<PlannedConfig>;
  /** Whether the images of the runtime folder are this supervisor's to remove. */
  readonly ownsImages: boolean;
  /** Whether it only tries a start, for a supervisor that serves. */
  readonly rehearses?: boolean;
  /** @param program of the threads that make them, where it comes from no file */
  makeFolders(config: Config, accounts: AccountTable, program?: string): Promise<void>;
  /** How a process of a config is started. */
  commandOf(config: Config, who: Commanded, compartment: Compartment, code: ProcessCode): Command;
  /**
   * How a planner is started.
   *
   * @param writes the folders that it writes
   * @param config if it is known; the default is the one that was read last
   */
  plannerCommand(writes: readonly string[], config?: Config): Command;
  landlockAbi(): number;
  releaseMemory(): void;
  bindListener(address: ListenAddress): Promise<Listener>;
  /** @param program of its thread, where it comes from no file */
  startSpawner(program?: string): Spawner;
  /** What an upgrade starts in this one's place: what this one was started by. */
  /** @param config its path, absolute */
  ownProgram(config: string): OwnProgram;
}

/** A program and its arguments. */
export interface OwnProgram {
  readonly program: string;
  readonly args: readonly string[];
}

/**
 * This deno, with the flags and arguments that it was started with (proc_pid_cmdline(5)). The script
 * and the config become absolute, as they were spelled: the working folder may be gone by then.
 */
function ownProgram(config: string): OwnProgram {
  const words = readArguments(Deno.pid).slice(1);
  const flags = words.slice(0, words.length - Deno.args.length - 1);
  const script = words.slice(flags.length, flags.length + 1).map(spelledPath);
  const args = withConfig(Deno.args, config);
  return { program: nextDenoProgram(), args: [...flags, ...script, ...args] };
}

/** The arguments with one `--config`, that of `config`. */
function withConfig(args: readonly string[], config: string): string[] {
  const others = args.filter((each, index) =>
    !each.startsWith("--config=") && each !== "--config" && args[index - 1] !== "--config"
  );
  return [...others, "--config", config];
}

/** The effects on this machine. */
export const realSystem: System = {
  closeIn,
  openServiceManager: (left) => new ServiceManager(left),
  giveUpPermissions,
  readConfig: readConfigText,
  locateRuntime,
  holdfastOf: () => HOLDFAST_FOLDER,
  openRuntimeFolder,
  makePrivateFolder,
  loadPrograms: (_, folder, signal, wall) => loadPrograms(folder, findDenoDir(), signal, wall),
  openProcessRecord,
  openControl,
  planCode: (_, plan) => plan(),
  ownsImages: true,
  makeFolders,
  commandOf: ({ wall }, _who, compartment, code) =>
    denoCommand(denoProgram(), compartment, code, wall),
  plannerCommand: (writes) => plannerCommand(denoProgram(), writes),
  landlockAbi,
  releaseMemory,
  bindListener,
  startSpawner,
  ownProgram,
};
