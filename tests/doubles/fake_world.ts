/**
 * A supervisor whose processes, listeners and time are a test's own. What it decides is real: its slots,
 * generations, queue and protocol run as they are; only the effects are not.
 */
import { setup } from "@std/log";
import { closeDescriptor } from "../../lib/os/descriptor.ts";
import type { Config, ListenAddress } from "../../lib/config/config.ts";
import { mayWatch } from "../../lib/os/epoll.ts";
import { countDescriptors } from "../../lib/os/file.ts";
import { socketPair } from "../../lib/os/socket.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { configOf, knownConfig } from "../../lib/supervisor/read_config.ts";
import type { ControlHandlers } from "../../lib/supervisor/control_server.ts";
import type { Listener } from "../../lib/supervisor/listener.ts";
import type { ReloadResult } from "../../lib/protocol/control.ts";
import { PULSE_INTERVAL_MS } from "../../lib/protocol/limits.ts";
import type { ToSupervisor, WorkerStats } from "../../lib/protocol/to_supervisor.ts";
import type { Configure, ToWorker } from "../../lib/protocol/to_worker.ts";
import { ServiceManager } from "../../lib/supervisor/service_manager.ts";
import type { ExitStatus } from "../../lib/os/child.ts";
import type { HandOverItem, SpawnerEvent, WorkerSignal } from "../../lib/supervisor/child_event.ts";
import type { ChildHandle, Spawner } from "../../lib/supervisor/spawner.ts";
import type { SpawnRequest } from "../../lib/supervisor/spawner_message.ts";
import { Supervisor } from "../../lib/supervisor/supervisor.ts";
import type { System } from "../../lib/supervisor/system.ts";
import { FakeTime, settle } from "../harness/fake_time.ts";
import { Project } from "../harness/project.ts";
import type { LogEvent } from "../harness/server.ts";
import { faultySystem, type Strike } from "./faulty_system.ts";

/** Above every pid that the kernel gives. */
const FIRST_PID = 5_000_000;

/** A program with the place where its app goes. */
const BUNDLE = 'import("holdfast:app")';

// Libraries that are loaded when they are first used would look like leaks of a test.
socketPair().forEach(closeDescriptor);
closeDescriptor(-1);
countDescriptors(Deno.pid);
mayWatch(1);

/** How a process to be behaves; what is not said is as it should be. */
export interface Behaviour {
  /** It ends, or says nothing, instead of this step. */
  readonly before?: "hello" | "received" | "ready" | "accepting";
  /** What it does there: the words of its failure, an exit, or nothing for ever. */
  readonly does?: { readonly fails: string } | { readonly exits: number } | "hangs";
  /** How long its start takes. */
  readonly startMs?: number;
  /** It serves for so long, and exits or hangs. */
  readonly servesMs?: number;
  readonly then?: "exits" | "hangs";
}

/** The bytes of messages are not what is tested: events go to the supervisor as they are. */
export class FakeProcess implements ChildHandle {
  readonly pid: number;
  readonly started: number;
  readonly commands: ToWorker[] = [];
  /** What it was given to run. */
  readonly images: string[] = [];
  roleConfig: Configure | undefined;
  alive = true;
  /** Whether its event loop stands still. */
  hanging = false;
  /** Whether it never leaves by itself. */
  defiant = false;
  inFlight = 0;
  answered = 0;
  /** Open WebSockets, besides. */
  webSockets = 0;
  /** Whether it holds listeners to accept from. */
  accepting = false;
  /** When it was told to drain. */
  drainedFromMs: number | undefined;
  killedAtMs: number | undefined;
  readonly #receive: (event: SpawnerEvent) => void;
  #pulse: ReturnType<typeof setInterval> | undefined;
  /** What came while it hung. */
  #missed: (() => void)[] = [];
  #answeredBefore = 0;
  #kept = false;

  constructor(
    readonly world: FakeWorld,
    readonly id: number,
    readonly behaviour: Behaviour,
    receive: (event: SpawnerEvent) => void,
  ) {
    this.pid = FIRST_PID + id;
    this.started = performance.now();
    this.#receive = receive;
    void this.#live();
  }

  get role(): string {
    return this.roleConfig?.roleConfig.role ?? "unknown";
  }

  /** Each word to drain, and whether WebSockets may stay. */
  get drains(): string[] {
    return this.commands.flatMap((each) =>
      each.type === "drain" ? `${each.reason}${each.keep ? ", keep" : ""}` : []
    );
  }

  /** The reason of its drain, if it was told to. */
  get drainReason(): string | undefined {
    const drain = this.commands.find(({ type }) => type === "drain");
    return drain?.type === "drain" ? drain.reason : undefined;
  }

  /** A request comes in. */
  hold(): void {
    this.inFlight++;
  }

  /** A request is answered. */
  release(): void {
    this.inFlight--;
    this.answered++;
    this.#leaveIfDone(0);
  }

  /** Its WebSockets end. */
  endWebSockets(): void {
    this.webSockets = 0;
    this.#leaveIfDone(0);
  }

  /** Its event loop stands still from now on. */
  hang(): void {
    this.hanging = true;
  }

  /** It comes to itself, and reads what came meanwhile. */
  wake(): void {
    this.hanging = false;
    for (const read of this.#missed.splice(0)) read();
  }

  exit(code = 9): void {
    this.#end({ code, signal: undefined });
  }

  giveImage(image: () => string): void {
    this.images.push(image());
  }

  signal(signal: WorkerSignal): void {
    this.killedAtMs ??= performance.now();
    this.#end({ code: undefined, signal });
  }

  lend(): number {
    return 0;
  }

  handOver(items: readonly HandOverItem[]): void {
    this.#read(() => {
      const listeners = items.filter((item) => item.message.type === "listener");
      for (const { descriptor } of items) if (descriptor >= 0) closeDescriptor(descriptor);
      const others = items.length > listeners.length;
      if (!others) this.#step({ type: "received", listeners: listeners.length });
    });
  }

  command(command: ToWorker): void {
    if (this.alive) this.commands.push(command);
    this.#read(() => {
      if (command.type === "configure") this.roleConfig = command;
      if (command.type === "load") {
        setTimeout(() => this.#step({ type: "ready" }), this.behaviour.startMs ?? 0);
      }
      if (command.type === "accept") this.#serve();
      if (command.type === "drain") this.#drain(command.keep ?? false);
    });
  }

  /** What is written to one that is gone is lost. */
  #read(read: () => void): void {
    if (!this.alive) return;
    if (this.hanging) this.#missed.push(read);
    else read();
  }

  #serve(): void {
    const engine = this.role === "worker" ? "native" : "none";
    if (!this.#step({ type: "accepting", engine })) return;
    this.accepting = true;
    this.#pulse = setInterval(() => this.pulse(), PULSE_INTERVAL_MS);
    const { servesMs, then } = this.behaviour;
    if (servesMs === undefined) return;
    setTimeout(() => then === "hangs" ? this.hang() : this.exit(), servesMs);
  }

  /** Tells its figures now. */
  pulse(): void {
    if (this.hanging || !this.alive) return;
    const { inFlight, answered } = this;
    const figures: WorkerStats = {
      ...{ accepted: 0, connections: inFlight, inFlight, answered },
      ...this.webSockets > 0 && { webSockets: this.webSockets },
    };
    this.#say({ type: "pulse", ...figures });
  }

  #drain(keep: boolean): void {
    this.accepting = false;
    if (this.drainedFromMs === undefined) {
      this.drainedFromMs = performance.now();
      this.#answeredBefore = this.answered;
      this.#say({ type: "stopped" });
    }
    if (!keep) this.webSockets = 0;
    setTimeout(() => this.#leaveIfDone(this.inFlight), this.roleConfig!.drainDeadlineMs);
    this.#leaveIfDone(0);
  }

  #leaveIfDone(cut: number): void {
    if (this.drainedFromMs === undefined || this.inFlight > cut || this.hanging || !this.alive) {
      return;
    }
    if (this.defiant) return;
    if (this.webSockets > 0) {
      if (!this.#kept) this.#say({ type: "kept" });
      this.#kept = true;
      return;
    }
    this.#say({ type: "drained", answered: this.answered - this.#answeredBefore, cut });
    this.#end({ code: 0, signal: undefined });
  }

  async #live(): Promise<void> {
    await undefined;
    const ends = () => ({ outputs: [] });
    this.#tell({ type: "spawned", pid: this.pid, ends, confined: true, dialling: undefined });
    this.#step({ type: "hello", version: 1, deno: "fake" });
  }

  /** Says it, unless it does something else instead. */
  #step(message: ToSupervisor): boolean {
    const { before, does } = this.behaviour;
    if (before === message.type) {
      if (does === "hangs") this.hang();
      else if (does && "fails" in does) {
        this.#say({ type: "failed", reason: does.fails });
        this.exit(1);
      } else if (does) this.exit(does.exits);
      return false;
    }
    this.#say(message);
    return true;
  }

  #say(message: ToSupervisor): void {
    this.#tell({ type: "message", message });
  }

  #tell(event: SpawnerEvent): void {
    queueMicrotask(() => this.#receive(event));
  }

  #end(status: ExitStatus): void {
    if (!this.alive) return;
    this.alive = false;
    this.accepting = false;
    clearInterval(this.#pulse);
    this.#tell({ type: "exited", status, error: undefined });
  }
}

export class FakeSpawner implements Spawner {
  closed = false;
  readonly #world: FakeWorld;

  constructor(world: FakeWorld) {
    this.#world = world;
  }

  spawn(_: SpawnRequest, receive: (event: SpawnerEvent) => void): ChildHandle {
    const id = this.#world.processes.length + 1;
    const process = new FakeProcess(this.#world, id, this.#world.behave(id), receive);
    this.#world.processes.push(process);
    return process;
  }

  close(): void {
    this.closed = true;
  }
}

export class FakeListener implements Listener {
  closed = false;
  /** Whether a worker made the shared socket stop. */
  halted = false;
  /** What a worker has changed. */
  readonly changed: string[] = [];

  constructor(readonly text: string) {}

  /** No descriptor at all: nobody reads from it, and closing it closes nothing. */
  duplicate(): number {
    return -1;
  }

  listenAgain(): boolean {
    const { halted } = this;
    this.halted = false;
    return halted;
  }

  setBack(): string[] {
    return this.changed.splice(0);
  }

  waiting(): number {
    return 0;
  }

  update(): void {}

  close(): void {
    this.closed = true;
  }
}

export interface WorldOptions {
  readonly config?: Partial<Config>;
  /** Makes effects fail. */
  readonly strike?: Strike;
}

export class FakeWorld implements AsyncDisposable {
  readonly time = new FakeTime();
  readonly events: (LogEvent & { atMs: number })[] = [];
  readonly processes: FakeProcess[] = [];
  readonly spawners: FakeSpawner[] = [];
  readonly listeners: FakeListener[] = [];
  /** Effects that happen once, and whether what they opened was closed. */
  runtime: "none" | "open" | "closed" = "none";
  control: "none" | "open" | "closed" = "none";
  handlers: ControlHandlers | undefined;
  /** How the next processes behave, by their number. */
  behave: (id: number) => Behaviour = () => ({});
  /** What the config on disk says. */
  config: Config;
  readonly supervisor: Supervisor;

  private constructor(config: Config, { strike }: WorldOptions) {
    this.config = config;
    const record = (event: string, fields: unknown) =>
      this.events.push({ ...fields as object, event, atMs: this.time.nowMs });
    setup({ level: "INFO", handler: { handle: ({ msg, args }) => record(msg, args[0]) } });
    const system = this.#system();
    this.supervisor = new Supervisor(
      config.file,
      strike ? faultySystem(system, strike) : system,
    );
  }

  static async create(options: WorldOptions = {}): Promise<FakeWorld> {
    await using project = await Project.create();
    const config = await loadConfig(project.configFile);
    // There is nobody whom a kernel could hold.
    return new FakeWorld({ ...config, wall: "deno", ...options.config }, options);
  }

  /** One that serves. */
  static async start(options: WorldOptions = {}): Promise<FakeWorld> {
    const world = await FakeWorld.create(options);
    try {
      let started: { error?: unknown } | undefined;
      void world.supervisor.start().then(() => started = {}, (error) => started = { error });
      const { error } = await world.time.passUntil("the start", () => started);
      if (error) throw error;
    } catch (error) {
      world.time[Symbol.dispose]();
      throw error;
    }
    return world;
  }

  /** Changes keys of the config on disk. */
  configure(changes: Partial<Config>): void {
    this.config = { ...this.config, ...changes };
  }

  eventsOf(event: string) {
    return this.events.filter((each) => each.event === event);
  }

  /** Lets time pass until the log has `count` events of that name, and gives the last of them. */
  async waitFor(event: string, count = 1, mostMs?: number) {
    return await this.time.passUntil(
      `${count} ${event}`,
      () => this.eventsOf(event)[count - 1],
      mostMs,
    );
  }

  /** Asks for a reload and lets time pass until its outcome. */
  async reload(mostMs?: number): Promise<ReloadResult> {
    let result: ReloadResult | undefined;
    void this.supervisor.reload().then((outcome) => result = outcome);
    return await this.time.passUntil("the outcome of the reload", () => result, mostMs);
  }

  /** Processes that live, of one role. */
  living(role = "worker"): FakeProcess[] {
    return this.processes.filter((each) => each.alive && each.role === role);
  }

  /** Stops, and lets time pass until the end. */
  async stop(mostMs?: number): Promise<void> {
    let stopped = false;
    void this.supervisor.stop();
    void this.supervisor.stopped.then(() => stopped = true);
    await this.time.passUntil("the end", () => stopped, mostMs);
  }

  /** What is left of all that was opened; nothing after an end. */
  left(): string[] {
    return [
      ...this.processes.filter(({ alive }) => alive).map(({ pid }) => `process ${pid}`),
      ...this.spawners.filter(({ closed }) => !closed).map(() => "a spawner"),
      ...this.listeners.filter(({ closed }) => !closed).map(({ text }) => `listener ${text}`),
      ...this.runtime === "open" ? ["the runtime folder"] : [],
      ...this.control === "open" ? ["the control socket"] : [],
    ];
  }

  /** Stops, and fails if anything is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
      await settle();
      const left = this.left();
      if (left.length > 0) throw new Error(`Left behind: ${left.join(", ")}`);
    } finally {
      this.time[Symbol.dispose]();
    }
  }

  #system(): System {
    const { config } = this;
    return {
      closeIn: () => {},
      openServiceManager: () => new ServiceManager({ passed: [] }),
      giveUpPermissions: () => {},
      readConfig: () => Promise.resolve(knownConfig(this.config)),
      locateRuntime: () => Promise.resolve(config),
      holdfastOf: () => "/holdfast",
      makePrivateFolder: () => Promise.resolve(),
      openRuntimeFolder: (folder) => {
        this.runtime = "open";
        return Promise.resolve({
          controlSocket: `${folder}/control.sock`,
          lockFile: `${folder}/lock`,
          made: undefined,
          close: () => void (this.runtime = "closed"),
        });
      },
      loadPrograms: () =>
        Promise.resolve({
          worker: BUNDLE,
          helper: BUNDLE,
          logger: "",
          metrics: "",
          resolver: "",
          acme: "",
        }),
      openProcessRecord: () => ({ left: () => [], write: () => {}, close: () => {} }),
      openControl: (_, handlers) => {
        this.control = "open";
        this.handlers = handlers;
        return Promise.resolve({
          duplicate: () => -1,
          made: undefined,
          close: () => void (this.control = "closed"),
        });
      },
      planCode: (read) => {
        const config = configOf(read);
        const code = {
          ...{ image: undefined, packagesFrom: undefined, flags: [], denoDir: "/deno" },
          reads: [],
        };
        const own = config.helpers.map(({ name }) => [`helper ${name}`, code]);
        const processes = { worker: code, ...Object.fromEntries(own) };
        const plan = { digest: "1", processes: [] };
        return Promise.resolve({ config, code: { folder: "/images/1", plan, processes } });
      },
      ownsImages: false,
      makeFolders: () => Promise.resolve(),
      commandOf: () => ({ program: "deno", args: [], env: {}, files: [] }),
      plannerCommand: () => ({ program: "deno", args: [], env: {}, files: [] }),
      landlockAbi: () => 6,
      releaseMemory: () => {},
      bindListener: (address: ListenAddress) => {
        const listener = new FakeListener(address.text);
        this.listeners.push(listener);
        return Promise.resolve(listener);
      },
      startSpawner: () => {
        const spawner = new FakeSpawner(this);
        this.spawners.push(spawner);
        return spawner;
      },
      ownProgram: () => ({ program: "false", args: [] }),
    };
  }
}

/** A helper of the fake world, with what a config gives by default. */
export function fakeHelper(config: Config, name: string, instances = 1): Config["helpers"][number] {
  const { app, limits, account } = config;
  return {
    ...{ app, limits, account, name, instances, unveil: [], env: [], net: [] },
    ...{ concurrency: 1, timeoutMs: 5_000, restart: "always" },
  };
}
