/**
 * The runtime folder in use, and what lies in it: the lock, the control socket, the record of processes.
 * They are made anew where somebody removes them, and follow a link that is moved.
 */
import { dirname } from "node:path";
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { keepsRuntime, realRuntime, type RuntimePlace } from "../config/runtime_place.ts";
import { bestEffort } from "./best_effort.ts";
import type { ControlHandlers, ControlServer } from "./control_server.ts";
import type { Inheritance } from "./inheritance.ts";
import { identityOf } from "./listener.ts";
import { RecordKeeper } from "./record_keeper.ts";
import { movedRuntime } from "./rehearsal.ts";
import { adoptRuntimeFolder, removeIfThere, type RuntimeFolder } from "./runtime_folder.ts";
import type { System } from "./system.ts";
import type { Troubles } from "./troubles.ts";

export interface RuntimeKeeperOptions {
  readonly system: System;
  /** The config's path. */
  readonly file: string;
  readonly handlers: ControlHandlers;
  readonly troubles: Troubles;
  /** Aborts when the supervisor stops: nothing is made anew from then on. */
  readonly signal: AbortSignal;
  /** The incumbent's. */
  readonly config: () => Config | undefined;
  /** That of its workers. */
  readonly group: () => number | undefined;
}

export class RuntimeKeeper {
  readonly #options: RuntimeKeeperOptions;
  readonly #system: System;
  #runtime: RuntimeFolder | undefined;
  #control: ControlServer | undefined;
  #change: Promise<void> = Promise.resolve();
  /** Whether no config has said yet who may pass through it. */
  #isFresh = false;
  /** What was missing at the last look. */
  #missing = "";
  readonly record: RecordKeeper;

  constructor(options: RuntimeKeeperOptions) {
    this.#options = options;
    this.#system = options.system;
    this.record = new RecordKeeper(options.system);
  }

  get folder(): string {
    return dirname(this.#runtime!.lockFile);
  }

  get lockFile(): string {
    return this.#runtime!.lockFile;
  }

  /** What the supervisor that takes this one's place in the same process is to have. */
  handOver(): { folder: string; runtime: RuntimeFolder; control: ControlServer } {
    return { folder: this.folder, runtime: this.#runtime!, control: this.#control! };
  }

  /** Takes over the lock that the program before this one has left. */
  adopt({ runtime, lock }: Inheritance): void {
    this.#runtime = adoptRuntimeFolder(runtime, lock);
  }

  /** Takes the lock, and learns what a supervisor that was killed has left. */
  async open(place: RuntimePlace): Promise<void> {
    if (!this.#runtime) {
      this.#runtime = await this.#system.openRuntimeFolder(realRuntime(place), "unknown");
      this.#isFresh = true;
    }
    this.record.open(this.folder);
  }

  /** Where a generation keeps its code: with its release, where each has a runtime folder of its own. */
  async codeFolder(place: RuntimePlace): Promise<string> {
    const folder = realRuntime(place);
    if (folder === this.folder || place.certain === false) return this.folder;
    try {
      await this.#system.makePrivateFolder(folder, "unknown");
      return folder;
    } catch {
      return this.folder;
    }
  }

  /** Lets a group, that of workers, pass through a folder in which code is kept, and nobody else. */
  async openTo(folder: string, gid: number | undefined): Promise<void> {
    // One that is in use may be open to workers of before.
    if (folder === this.folder && gid === undefined && !this.#isFresh) return;
    await this.#system.makePrivateFolder(folder, gid);
    this.#isFresh = false;
  }

  /** @param fd listens there already */
  async openControl(fd?: number): Promise<void> {
    this.#control = await this.#listen(this.#runtime!, fd);
  }

  #listen({ controlSocket }: RuntimeFolder, fd?: number): Promise<ControlServer> {
    return this.#system.openControl(controlSocket, this.#options.handlers, fd);
  }

  /** A config may not move the runtime folder; a link to it may be moved. */
  requireSame(after: RuntimePlace): void {
    const before = this.#options.config();
    if (!before || after.certain === false) return;
    const place = (of: RuntimePlace) => ({ folder: of.folder, runtime: realRuntime(of) });
    if (keepsRuntime(place(before), place(after))) return;
    throw movedRuntime(
      `A running supervisor cannot move its runtime folder, from ${before.runtime} to ${after.runtime}`,
    );
  }

  /** Follows a link to the runtime folder that was moved. The switch has happened: it goes on without. */
  follow(config: Config): Promise<void> {
    return this.#next(() => this.#follow(config));
  }

  /** Makes the lock and the control socket anew where somebody has removed them. */
  restore(): Promise<void> {
    return this.#next(() => this.#restore());
  }

  /**
   * Does so where the same was missing at the last look: who is removing the whole folder would find it
   * filled again.
   */
  async look(): Promise<void> {
    const missing = this.#whatIsMissing();
    if (missing !== "" && missing === this.#missing) await this.restore();
    this.#missing = missing;
  }

  #whatIsMissing(): string {
    const [runtime, control] = [this.#runtime, this.#control];
    if (!runtime || !control) return "";
    return [
      ...identityOf(this.folder) === undefined ? [this.folder] : [],
      ...identityOf(runtime.lockFile) === runtime.made ? [] : [runtime.lockFile],
      ...identityOf(runtime.controlSocket) === control.made ? [] : [runtime.controlSocket],
    ].join(" ");
  }

  /** One change after the other. */
  #next(change: () => Promise<void>): Promise<void> {
    return this.#change = this.#change.then(change);
  }

  /** Takes another runtime folder into use, or the same one once more. */
  async #use(folder: string): Promise<void> {
    const [oldControl, oldRuntime] = [this.#control, this.#runtime];
    const runtime = await this.#system.openRuntimeFolder(folder, this.#options.group());
    try {
      this.#control = await this.#listen(runtime);
    } catch (error) {
      bestEffort("close the runtime folder", () => runtime.close());
      throw error;
    }
    this.#runtime = runtime;
    this.record.move(this.folder);
    bestEffort("close the control socket", () => oldControl?.close());
    bestEffort("close the runtime folder", () => oldRuntime?.close());
    log.info("runtime_opened", { folder });
  }

  async #follow(config: Config): Promise<void> {
    const folder = realRuntime(config);
    if (this.#options.signal.aborted || folder === this.folder) return;
    try {
      await this.#use(folder);
    } catch (error) {
      log.error("runtime_stays", {
        folder: this.folder,
        reason: (error as Error).message,
        hint: "Set runtime in the config to a folder that stays, such as /run/holdfast",
      });
    }
  }

  async #restore(): Promise<void> {
    const [runtime, control] = [this.#runtime, this.#control];
    const { troubles, signal, file } = this.#options;
    if (!runtime || !control || signal.aborted) return;
    const locked = identityOf(runtime.lockFile) === runtime.made;
    if (locked && identityOf(runtime.controlSocket) === control.made) return;
    try {
      if (locked) {
        control.close();
        await removeIfThere(runtime.controlSocket);
        await this.openControl();
      } else {
        // With an old release its runtime folder went: the next one has another.
        const folder = identityOf(dirname(this.folder)) === undefined
          ? (await this.#system.locateRuntime(file)).runtime
          : this.folder;
        await this.#use(folder);
      }
      troubles.look("runtime", undefined);
      log.warn("control_restored", { socket: this.#runtime!.controlSocket });
    } catch (error) {
      troubles.look("runtime", (error as Error).message, (reason) => {
        log.error("control_lost", {
          ...{ socket: runtime.controlSocket, reason },
          hint: "Commands cannot reach it; HUP, USR2 and TERM can",
        });
      });
    }
  }

  /** Settles when no change is under way. */
  get settled(): Promise<void> {
    return this.#change;
  }

  /** Lets go of all of it. */
  close(): void {
    bestEffort("close the control socket", () => this.#control?.close());
    this.#control = undefined;
    bestEffort("close the record of processes", () => this.record.close());
    bestEffort("close the runtime folder", () => this.#runtime?.close());
    this.#runtime = undefined;
  }
}
