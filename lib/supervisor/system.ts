/**
 * Every effect of the supervisor that can fail, behind one interface: tests make each of them fail
 * in turn and see that the old generation goes on.
 */
import type { Compartment, Config, ListenAddress } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { locateRuntime } from "../config/runtime_place.ts";
import { readProcess } from "../os/file.ts";
import { landlockAbi } from "../os/landlock.ts";
import { type Command, type Commanded, denoCommand } from "../sandbox/worker_command.ts";
import {
  type CodeCache,
  type CodeCacheOptions,
  listCodeCaches,
  openCodeCache,
} from "./code_cache.ts";
import { type ControlHandlers, type ControlServer, openControl } from "./control_server.ts";
import { closeIn, giveUpPermissions } from "./narrow.ts";
import type { ServiceBequest } from "./inheritance.ts";
import { bindListener, type Listener } from "./listener.ts";
import {
  bundleHelper,
  bundleLogger,
  bundleMetrics,
  bundleWorker,
  findCaches,
  findDenoDir,
  HOLDFAST_FOLDER,
  makeFolders,
  type Modules,
  prepareApp,
} from "./prepare.ts";
import { openRuntimeFolder, type RuntimeFolder } from "./runtime_folder.ts";
import { ServiceManager } from "./service_manager.ts";
import { type Spawner, startSpawner } from "./spawner.ts";

export interface System {
  closeIn(): void;
  /** @param left what the supervisor before this one in the same process knew of it */
  openServiceManager(left?: ServiceBequest): ServiceManager;
  giveUpPermissions(): void;
  loadConfig(file: string): Promise<Config>;
  /** The runtime folder of a config that may be wrong by now. */
  locateRuntime(file: string): Promise<string>;
  /** The folder of the Holdfast that processes of this config run: of this one, or of a newer file. */
  holdfastOf(config: Config): string;
  findDenoDir(config: Config): Promise<string>;
  findCaches(denoDir: string): string[];
  openRuntimeFolder(folder: string): Promise<RuntimeFolder>;
  bundleWorker(config: Config): Promise<string>;
  bundleHelper(config: Config): Promise<string>;
  bundleLogger(config: Config): Promise<string>;
  bundleMetrics(config: Config): Promise<string>;
  openControl(path: string, handlers: ControlHandlers, fd?: number): Promise<ControlServer>;
  /** @param openCache not called where the code is compiled beforehand, as in an executable */
  prepareApp(
    config: Config,
    denoDir: string,
    signal?: AbortSignal,
    openCache?: () => CodeCache,
  ): Promise<Modules>;
  openCodeCache(options: CodeCacheOptions): CodeCache;
  /** Those that are in a runtime folder. */
  listCodeCaches(runtime: string): string[];
  makeFolders(config: Config): Promise<void>;
  /** How a process of a config is started. */
  commandOf(config: Config, who: Commanded, compartment: Compartment): Command;
  landlockAbi(): number;
  bindListener(address: ListenAddress): Promise<Listener>;
  startSpawner(): Spawner;
  /** What an upgrade starts in this one's place: what this one was started by. */
  ownProgram(): OwnProgram;
}

/** A program and its arguments. */
export interface OwnProgram {
  readonly program: string;
  readonly args: readonly string[];
}

/** This deno, with the flags and arguments that it was started with (proc_pid_cmdline(5)). */
function ownProgram(): OwnProgram {
  const words = readProcess(Deno.pid, "cmdline")?.split("\0").slice(1, -1);
  return { program: Deno.execPath(), args: words ?? [] };
}

/** The effects on this machine. */
export const realSystem: System = {
  closeIn,
  openServiceManager: (left) => new ServiceManager(left),
  giveUpPermissions,
  loadConfig: (file) => loadConfig(file),
  locateRuntime,
  holdfastOf: () => HOLDFAST_FOLDER,
  findDenoDir,
  findCaches,
  openRuntimeFolder,
  bundleWorker,
  bundleHelper,
  bundleLogger,
  bundleMetrics,
  openControl,
  prepareApp,
  openCodeCache,
  listCodeCaches,
  makeFolders,
  commandOf: (_, who, compartment) => denoCommand(Deno.execPath(), who, compartment),
  landlockAbi,
  bindListener,
  startSpawner,
  ownProgram,
};
