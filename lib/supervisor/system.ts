/**
 * Every effect of the supervisor that can fail, behind one interface: tests make each of them fail
 * in turn and see that the old generation goes on.
 */
import type { Compartment, Config, ListenAddress } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { locateRuntime } from "../config/runtime_place.ts";
import { landlockAbi } from "../os/landlock.ts";
import { type Command, type Commanded, denoCommand } from "../sandbox/worker_command.ts";
import { type ControlHandlers, type ControlServer, openControl } from "./control_server.ts";
import { closeIn, giveUpPermissions } from "./narrow.ts";
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
  openServiceManager(): ServiceManager;
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
  openControl(path: string, handlers: ControlHandlers): Promise<ControlServer>;
  prepareApp(config: Config, denoDir: string, signal?: AbortSignal): Promise<Modules>;
  makeFolders(config: Config): Promise<void>;
  /** How a process of a config is started. */
  commandOf(config: Config, who: Commanded, compartment: Compartment): Command;
  landlockAbi(): number;
  bindListener(address: ListenAddress): Promise<Listener>;
  startSpawner(): Spawner;
}

/** The effects on this machine. */
export const realSystem: System = {
  closeIn,
  openServiceManager: () => new ServiceManager(),
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
  makeFolders,
  commandOf: (_, who, compartment) => denoCommand(Deno.execPath(), who, compartment),
  landlockAbi,
  bindListener,
  startSpawner,
};
