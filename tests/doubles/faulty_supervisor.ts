/**
 * `holdfast start` in which one effect fails once: the one that the file `fault` beside the config
 * names. Nothing else is different.
 */
import { dirname, join } from "node:path";
import { configureLog, flushLog } from "../../lib/base/log.ts";
import type { ControlServer } from "../../lib/supervisor/control_server.ts";
import type { Listener } from "../../lib/supervisor/listener.ts";
import type { RuntimeFolder } from "../../lib/supervisor/runtime_folder.ts";
import type { Spawner } from "../../lib/supervisor/spawner.ts";
import { realSystem, type System } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";
import { runAsCommand } from "./command.ts";
import type { FaultName } from "./fault_name.ts";

const ARMED = join(dirname(Deno.args[0]!), "fault");

/** Throws if the fault is armed, and disarms it. */
function strike(name: FaultName): void {
  try {
    if (Deno.readTextFileSync(ARMED) !== name) return;
  } catch {
    return;
  }
  Deno.removeSync(ARMED);
  throw new Error(`Fault: ${name}`);
}

/** Does it, and may fail all the same: what is undone half must not undo the rest. */
function doAndStrike(name: FaultName, work: () => void): void {
  work();
  strike(name);
}

function faultySpawner(spawner: Spawner): Spawner {
  return {
    get failed() {
      return spawner.failed;
    },
    async confine(wall) {
      strike("spawner confine");
      await spawner.confine(wall);
    },
    post(message) {
      strike(message.type === "command" ? `post ${message.command.type}` : `post ${message.type}`);
      spawner.post(message);
    },
    subscribe(worker, receive) {
      strike("spawner subscribe");
      spawner.subscribe(worker, receive);
    },
    close: () => doAndStrike("spawner close", () => spawner.close()),
  };
}

function faultyListener(listener: Listener): Listener {
  return {
    text: listener.text,
    duplicate() {
      strike("listener duplicate");
      return listener.duplicate();
    },
    listenAgain() {
      strike("listener listenAgain");
      return listener.listenAgain();
    },
    update(address) {
      strike("listener update");
      listener.update(address);
    },
    close: () => doAndStrike("listener close", () => listener.close()),
  };
}

function faultyControl(control: ControlServer): ControlServer {
  return {
    duplicate: () => control.duplicate(),
    close: () => doAndStrike("control close", () => control.close()),
  };
}

function faultyRuntime(runtime: RuntimeFolder): RuntimeFolder {
  return { ...runtime, close: () => doAndStrike("runtime close", () => runtime.close()) };
}

const system: System = {
  closeIn() {
    strike("closeIn");
    realSystem.closeIn();
  },
  openServiceManager() {
    strike("openServiceManager");
    return realSystem.openServiceManager();
  },
  giveUpPermissions() {
    strike("giveUpPermissions");
    realSystem.giveUpPermissions();
  },
  async loadConfig(...all) {
    strike("loadConfig");
    return await realSystem.loadConfig(...all);
  },
  locateRuntime: (...all) => realSystem.locateRuntime(...all),
  commandOf(...all) {
    strike("commandOf");
    return realSystem.commandOf(...all);
  },
  holdfastOf(...all) {
    strike("holdfastOf");
    return realSystem.holdfastOf(...all);
  },
  async findDenoDir(...all) {
    strike("findDenoDir");
    return await realSystem.findDenoDir(...all);
  },
  findCaches(...all) {
    strike("findCaches");
    return realSystem.findCaches(...all);
  },
  async openRuntimeFolder(...all) {
    strike("openRuntimeFolder");
    return faultyRuntime(await realSystem.openRuntimeFolder(...all));
  },
  async bundleWorker(...all) {
    strike("bundleWorker");
    return await realSystem.bundleWorker(...all);
  },
  async bundleHelper(...all) {
    strike("bundleHelper");
    return await realSystem.bundleHelper(...all);
  },
  async bundleMetrics(...all) {
    strike("bundleMetrics");
    return await realSystem.bundleMetrics(...all);
  },
  async bundleLogger(...all) {
    strike("bundleLogger");
    return await realSystem.bundleLogger(...all);
  },
  async openControl(...all) {
    strike("openControl");
    return faultyControl(await realSystem.openControl(...all));
  },
  async prepareApp(...all) {
    strike("prepareApp");
    return await realSystem.prepareApp(...all);
  },
  async makeFolders(...all) {
    strike("makeFolders");
    await realSystem.makeFolders(...all);
  },
  landlockAbi() {
    strike("landlockAbi");
    return realSystem.landlockAbi();
  },
  async bindListener(...all) {
    strike("bindListener");
    return faultyListener(await realSystem.bindListener(...all));
  },
  ownProgram: () => realSystem.ownProgram(),
  startSpawner() {
    strike("startSpawner");
    return faultySpawner(realSystem.startSpawner());
  },
};

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(Deno.args[0]!, system);
  } finally {
    await flushLog();
  }
});
