/** A system in which every effect may fail, as a test says. */
import type { ControlServer } from "../../lib/supervisor/control_server.ts";
import type { Listener } from "../../lib/supervisor/listener.ts";
import type { RuntimeFolder } from "../../lib/supervisor/runtime_folder.ts";
import type { ChildHandle, Spawner } from "../../lib/supervisor/spawner.ts";
import type { System } from "../../lib/supervisor/system.ts";
import type { FaultName } from "./fault_name.ts";

/** Throws if this effect is to fail now. */
export type Strike = (name: FaultName) => void;

/** The same system, but that `strike` is asked before each effect, or after it where things end. */
export function faultySystem(system: System, strike: Strike): System {
  /** Does it, and may fail all the same: what is undone half must not undo the rest. */
  const doAndStrike = (name: FaultName, work: () => void): void => {
    work();
    strike(name);
  };

  const faultyChild = (child: ChildHandle): ChildHandle => ({
    command(command) {
      strike(`child ${command.type}`);
      child.command(command);
    },
    handOver(items) {
      strike("child handOver");
      child.handOver(items);
    },
    giveImage(image) {
      strike("child giveImage");
      child.giveImage(image);
    },
    lend(descriptors) {
      strike("child lend");
      return child.lend(descriptors);
    },
    signal(signal) {
      strike("child signal");
      child.signal(signal);
    },
  });

  const faultySpawner = (spawner: Spawner): Spawner => ({
    spawn(request, receive) {
      strike("spawner spawn");
      return faultyChild(spawner.spawn(request, receive));
    },
    close: () => doAndStrike("spawner close", () => spawner.close()),
  });

  const faultyListener = (listener: Listener): Listener => ({
    text: listener.text,
    ...listener.file && { file: listener.file },
    duplicate() {
      strike("listener duplicate");
      return listener.duplicate();
    },
    waiting() {
      strike("listener waiting");
      return listener.waiting();
    },
    listenAgain() {
      strike("listener listenAgain");
      return listener.listenAgain();
    },
    setBack() {
      strike("listener setBack");
      return listener.setBack();
    },
    update(address) {
      strike("listener update");
      listener.update(address);
    },
    close: () => doAndStrike("listener close", () => listener.close()),
  });

  const faultyControl = (control: ControlServer): ControlServer => ({
    duplicate: () => control.duplicate(),
    made: control.made,
    close: () => doAndStrike("control close", () => control.close()),
  });

  const faultyRuntime = (runtime: RuntimeFolder): RuntimeFolder => ({
    ...runtime,
    close: () => doAndStrike("runtime close", () => runtime.close()),
  });

  return {
    closeIn() {
      strike("closeIn");
      system.closeIn();
    },
    openServiceManager(...all) {
      strike("openServiceManager");
      return system.openServiceManager(...all);
    },
    giveUpPermissions() {
      strike("giveUpPermissions");
      system.giveUpPermissions();
    },
    async readConfig(...all) {
      strike("readConfig");
      return await system.readConfig(...all);
    },
    locateRuntime: (...all) => system.locateRuntime(...all),
    commandOf(...all) {
      strike("commandOf");
      return system.commandOf(...all);
    },
    plannerCommand: (...all) => system.plannerCommand(...all),
    releaseMemory: () => doAndStrike("releaseMemory", () => system.releaseMemory()),
    holdfastOf(...all) {
      strike("holdfastOf");
      return system.holdfastOf(...all);
    },
    async makePrivateFolder(...all) {
      strike("makePrivateFolder");
      await system.makePrivateFolder(...all);
    },
    async openRuntimeFolder(...all) {
      strike("openRuntimeFolder");
      return faultyRuntime(await system.openRuntimeFolder(...all));
    },
    async loadPrograms(...all) {
      strike("loadPrograms");
      return await system.loadPrograms(...all);
    },
    openProcessRecord(...all) {
      strike("openProcessRecord");
      return system.openProcessRecord(...all);
    },
    async openControl(...all) {
      strike("openControl");
      return faultyControl(await system.openControl(...all));
    },
    async planCode(...all) {
      strike("planCode");
      return await system.planCode(...all);
    },
    ownsImages: system.ownsImages,
    async makeFolders(...all) {
      strike("makeFolders");
      await system.makeFolders(...all);
    },
    landlockAbi() {
      strike("landlockAbi");
      return system.landlockAbi();
    },
    async bindListener(...all) {
      strike("bindListener");
      return faultyListener(await system.bindListener(...all));
    },
    ownProgram: (...all) => system.ownProgram(...all),
    startSpawner(...all) {
      strike("startSpawner");
      return faultySpawner(system.startSpawner(...all));
    },
  };
}
