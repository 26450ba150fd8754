/** One process that was spawned, a worker or a helper, as the supervisor's main thread sees it. */
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import { log } from "../base/log.ts";
import type { ExitStatus } from "../os/child.ts";
import { raiseOomScore } from "../os/file.ts";
import type { HandOverItem, SpawnerEvent, WorkerSignal } from "./child_event.ts";
import type { ChildEnds } from "./child_ends.ts";
import { addChild, type ChildRecord, removeChild } from "./child_table.ts";
import { HINT_MARK } from "../protocol/limits.ts";
import { type Role, roleText } from "../protocol/role.ts";
import { socketsOf } from "../sandbox/dialling.ts";
import type { ToSupervisor, WorkerStats } from "../protocol/to_supervisor.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { type DiallingMode, NOT_IN_NET } from "./dialling.ts";
import type { Denial } from "./guard.ts";
import { Heartbeat } from "./health.ts";
import { endHogs } from "./hogs.ts";
import { tellOutput, uncaughtIn } from "./process_output.ts";
import { GivenUp } from "./given_up.ts";
import { diallingUnguarded } from "./require_wall.ts";
import { LimitedLog } from "./process_log.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import type { ChildHandle, Spawner } from "./spawner.ts";

/** Why a worker is no more. */
export interface Death {
  readonly status: ExitStatus;
  /** What was wrong before it ended, if something was: its own words, a broken rule, a failed spawn. */
  readonly reason: string | undefined;
  /** What to tell whoever asked for it, where it was not its own fault. */
  readonly failure?: HoldfastError | undefined;
  /** After how many milliseconds. */
  readonly livedMs: number;
}

type MessageOf<Type extends ToSupervisor["type"]> = Extract<ToSupervisor, { type: Type }>;

/** How often a worker may ask in vain under `"on_violation": "log"`: each time costs the supervisor. */
export const MAX_DENIED = 1_000;

/**
 * What is added to a process's score when memory is short: without the supervisor nobody starts another,
 * and a helper or a logger serves several workers. A planner's end costs one reload.
 */
const OOM_SCORES: Record<Role["kind"], number> = {
  planner: 600,
  worker: 500,
  helper: 400,
  logger: 300,
  resolver: 300,
  acme: 300,
  metrics: 300,
};

/** How the runtime begins what it says of a promise that is rejected. */
const IN_PROMISE = /^\(in promise\) /;

/** How a death reads in a message. */
export function describeDeath({ status, reason }: Death): string {
  const end = status.signal !== undefined
    ? `killed by ${status.signal}`
    : status.code !== undefined
    ? `exited with status ${status.code}`
    : "never started";
  return reason === undefined ? end : `${reason.replace(IN_PROMISE, "")} (${end})`;
}

/** What to do about a death of which the process itself said nothing. */
function hintOf({ status: { signal }, reason = "" }: Death): string {
  if (/Holdfast: /.test(reason)) return "It says what would allow it, or what does in its place";
  if (IN_PROMISE.test(reason)) return "Nothing awaits that promise, or catches its error";
  return ["SIGKILL", "SIGABRT", "SIGTRAP", "SIGILL"].includes(signal ?? "")
    ? "Most likely memory ran out: raise limits.memoryBytes, or load less at the start"
    : "What it printed, if anything, is in the log as worker_output";
}

export class WorkerProcess implements ChildRecord {
  readonly id: number;
  /** A spare one gets its index when it is taken. */
  role: Role;
  readonly generation: number;
  readonly startedMs = performance.now();
  /** Of 0 to 1: what is to happen to each of several need not happen to all at once. */
  readonly jitter = Math.random();
  /** Settles when it runs, or never will. */
  readonly spawned: Promise<void>;
  readonly exited: Promise<Death>;
  /** Settles when it has said that it accepts no more, or has ended. */
  readonly stopped: Promise<void>;
  /** Settles when it has said that only WebSockets are left, or has ended. */
  readonly kept: Promise<void>;
  readonly #child: ChildHandle;
  #image: SpawnRequest["image"];
  readonly #spawn = Promise.withResolvers<void>();
  readonly #exit = Promise.withResolvers<Death>();
  readonly #stop = Promise.withResolvers<void>();
  readonly #keep = Promise.withResolvers<void>();
  readonly onViolation: "replace" | "log";
  readonly dials: readonly string[];
  /** Whose it is, where it is not the supervisor's. */
  readonly account: SpawnRequest["account"];
  /** How many seccomp programs of its own it has when it says hello. */
  readonly programs: number;
  readonly temporary: SpawnRequest["temporary"];
  endsAtMs: number | undefined;
  #ends: () => ChildEnds = () => ({ outputs: [] });
  #pid: number | undefined;
  #confined = false;
  #dialling: DiallingMode | undefined;
  #denied = 0;
  /** The last error that its runtime printed. */
  #uncaught: string | undefined;
  #hint: string | undefined;
  #figures: WorkerStats = { accepted: 0, connections: 0, inFlight: 0, answered: 0 };
  #pulses = 0;
  readonly #limited = new LimitedLog();
  readonly #givenUp = new GivenUp();
  #heard = new AbortController();
  readonly #heartbeat = new Heartbeat(performance.now());
  #drained: MessageOf<"drained"> | undefined;
  #acceptingMs: number | undefined;
  #engine: MessageOf<"accepting">["engine"] | undefined;
  #reason: string | undefined;
  #failure: HoldfastError | undefined;
  #death: Death | undefined;
  #waiting: { type: string; resolve(message: ToSupervisor): void } | undefined;
  #unread: ToSupervisor[] = [];

  /** Spawns; whether it worked shows in its messages or in {@link WorkerProcess.exited}. */
  constructor(
    identity: {
      readonly id: number;
      readonly role: Role;
      readonly generation: number;
      readonly onViolation: "replace" | "log";
    },
    spawner: Spawner,
    request: SpawnRequest,
  ) {
    this.id = identity.id;
    this.role = identity.role;
    this.generation = identity.generation;
    this.onViolation = identity.onViolation;
    this.account = request.account;
    this.programs = request.wall?.code ? 2 : 1;
    this.temporary = request.temporary;
    this.#image = request.image;
    this.dials = request.wall?.dials ?? [];
    this.spawned = this.#spawn.promise;
    this.exited = this.#exit.promise;
    this.stopped = this.#stop.promise;
    this.kept = this.#keep.promise;
    this.#child = spawner.spawn(request, (event) => this.#receive(event));
  }

  get ends(): ChildEnds {
    return this.#ends();
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  /** Whether the kernel's wall is around it: the kernel itself asked about its exec. */
  get confined(): boolean {
    return this.#confined;
  }

  /** How far the kernel's layer judges whom it dials; nothing where it dials nobody, or has no wall. */
  get dialling(): DiallingMode | undefined {
    return this.#dialling;
  }

  get figures(): WorkerStats {
    return this.#figures;
  }

  get engine(): MessageOf<"accepting">["engine"] | undefined {
    return this.#engine;
  }

  /** How often it asked the kernel for what it may not do. */
  get denied(): number {
    return this.#denied;
  }

  /** How often it has told its figures. */
  get pulses(): number {
    return this.#pulses;
  }

  /** How long it has not told its figures, as of the last look, in milliseconds. */
  get silentMs(): number {
    return this.#heartbeat.silentMs;
  }

  /** To be called every `LOOK_INTERVAL_MS`. */
  look(): void {
    this.#heartbeat.tick(performance.now());
  }

  /** Who it is, in a message. */
  get displayName(): string {
    return this.role.kind === "worker" ? `Worker ${this.id}` : `The ${roleText(this.role)}`;
  }

  /** Who it is, for the log. */
  get logFields() {
    const { id, role, generation } = this;
    return { role: roleText(role), generation, worker: id, pid: this.#pid };
  }

  get alive(): boolean {
    return this.#death === undefined;
  }

  /** Its last words, if it came to say them. */
  get drained(): MessageOf<"drained"> | undefined {
    return this.#drained;
  }

  get ageMs(): number {
    return performance.now() - this.startedMs;
  }

  /** For how long it has served; while it lives. */
  get servedMs(): number {
    return this.#acceptingMs === undefined ? 0 : performance.now() - this.#acceptingMs;
  }

  /** For how long it served until it was last heard: one that hangs serves nobody. */
  get answeringMs(): number {
    return Math.max(0, this.servedMs - this.silentMs);
  }

  command(command: ToWorker): void {
    this.#child.command(command);
  }

  /** Hands descriptors over, which are not the caller's from here on. */
  handOver(items: readonly HandOverItem[]): void {
    this.#child.handOver(items);
  }

  /** Gives it the modules of its app, which it asks for when it is told to load. */
  giveImage(): void {
    if (this.#image !== undefined) this.#child.giveImage(this.#image);
    this.#image = undefined;
  }

  /** How many connections there may be that nobody can end but its own end. */
  get unended(): number {
    return this.#givenUp.allowed ? 0 : this.#figures.givenUp?.count ?? 0;
  }

  /** As {@link ChildHandle.lend}. */
  lend(descriptors: readonly number[]): number {
    return this.#child.lend(descriptors);
  }

  signal(signal: WorkerSignal): void {
    if (this.alive) this.#child.signal(signal);
  }

  /** Kills it for something that it did. */
  killFor(reason: string): void {
    this.#reason ??= reason;
    this.signal("SIGKILL");
  }

  /**
   * Waits for the message `type`; the table of phases has seen to it that none other can come.
   *
   * @throws {HoldfastError} if the worker dies instead
   * @throws the signal's reason when it aborts
   */
  async expect<Type extends ToSupervisor["type"]>(
    type: Type,
    signal: AbortSignal,
  ): Promise<MessageOf<Type>> {
    return await Promise.race([
      this.#next(type),
      this.failed(signal, `it said ${type}`),
    ]) as MessageOf<Type>;
  }

  /**
   * Fails if the worker dies, or `signal` aborts.
   *
   * @param step what it should have come to
   */
  failed(signal: AbortSignal, step = "it was ready"): Promise<never> {
    const died = this.exited.then((death) => {
      throw death.failure ??
        new HoldfastError(`${this.displayName} ended before ${step}: ${describeDeath(death)}`, {
          kind: "app",
          code: "worker_died",
          hint: this.#hint ?? hintOf(death),
        });
    });
    return Promise.race([died, aborted(signal)]);
  }

  #next(type: string): Promise<ToSupervisor> {
    const index = this.#unread.findIndex((message) => message.type === type);
    if (index >= 0) return Promise.resolve(this.#unread.splice(index, 1)[0]!);
    return new Promise((resolve) => this.#waiting = { type, resolve });
  }

  #receive(event: SpawnerEvent): void {
    const who = this.logFields;
    switch (event.type) {
      case "spawned":
        this.#pid = event.pid;
        this.#confined = event.confined;
        this.#dialling = event.dialling;
        if (event.dialling === "ports" && socketsOf(this.dials).length > 0) {
          this.#failure = diallingUnguarded(this.displayName);
          this.killFor(this.#failure.message);
        } else if (event.dialling === "ports") {
          log.warn("dialling_by_port", {
            ...{ ...this.logFields, missing: "the right to read its memory" },
            hint:
              "The kernel's layer judges ports alone: start Holdfast as the workers' user, or with " +
              "CAP_SYS_PTRACE",
          });
        }
        this.#ends = event.ends;
        raiseOomScore(event.pid, OOM_SCORES[this.role.kind]);
        addChild(event.pid, this);
        this.#spawn.resolve();
        break;
      case "message":
        this.#hear(event.message);
        break;
      case "violation":
        // The one that an operator brings about, by a new release: its detail is ours, two numbers.
        this.#reason ??= event.rule === "version_mismatch"
          ? escapeUntrusted(event.detail, 500)
          : `broke the rule ${event.rule}`;
        log.error("worker_violation", {
          ...who,
          rule: event.rule,
          detail: escapeUntrusted(event.detail, 500),
        });
        break;
      case "denied":
        this.#denied++;
        tellDenial(event, who);
        if (isAlarm(event) && this.onViolation === "replace" || this.#denied >= MAX_DENIED) {
          this.killFor(`tried ${event.call}`);
        }
        break;
      case "output":
        this.#uncaught = uncaughtIn(event.text) ?? this.#uncaught;
        tellOutput({ ...who, stream: event.stream }, event.text);
        break;
      case "output_dropped":
        log.warn("worker_output_dropped", {
          ...who,
          stream: event.stream,
          lines: event.lines,
          bytes: event.bytes,
        });
        break;
      case "exited":
        if (this.#pid !== undefined) removeChild(this.#pid);
        this.#heard.abort(0);
        this.#reason ??= event.error ?? (this.#drained ? undefined : this.#uncaught);
        this.#death = {
          ...{ status: event.status, reason: this.#reason, livedMs: this.ageMs },
          failure: event.failure ?? this.#failure,
        };
        this.#exit.resolve(this.#death);
        this.#spawn.resolve();
        this.#stop.resolve();
        this.#keep.resolve();
    }
  }

  /** Ends connections that keep it from saying more, and tells it then whose they were. */
  #lookForHogs(lateMs = 0): void {
    this.#heard.abort(lateMs);
    if (this.role.kind !== "worker") return;
    this.#heard = new AbortController();
    endHogs(this.#pid!, this.#heard.signal).then((peers) => {
      if (peers.length > 0) this.command({ type: "flooded", peers });
    });
  }

  #endGivenUp(peers: readonly string[]): void {
    const { allowed } = this.#givenUp;
    // The number of one that has ended may be another one's by now.
    if (!this.alive || this.#pid === undefined) return;
    this.#givenUp.look(this.#pid, peers);
    if (this.#givenUp.allowed === allowed) return;
    log.warn("connections_stay", {
      ...{ ...this.logFields, missing: "the right to look at its descriptors" },
      hint:
        "Clients that never finish a TLS handshake keep descriptors until the worker is replaced: " +
        "start Holdfast as the workers' user, or with CAP_SYS_PTRACE",
    });
  }

  #hear(message: ToSupervisor): void {
    if (message.type === "pulse") {
      const { type: _, ...figures } = message;
      this.#figures = figures;
      this.#pulses++;
      this.#heartbeat.received();
      this.#lookForHogs(figures.lateMs);
      if (figures.limited) this.#limited.look(figures.limited, this.logFields);
      this.#endGivenUp(figures.givenUp?.peers ?? []);
      return;
    }
    if (message.type === "failed") {
      const [reason = "", hint] = message.reason.split(HINT_MARK);
      this.#reason ??= escapeUntrusted(reason, 1000);
      this.#hint = hint && escapeUntrusted(hint, 1000);
    }
    if (message.type === "drained") this.#drained = message;
    if (message.type === "stopped") this.#stop.resolve();
    if (message.type === "kept") this.#keep.resolve();
    if (message.type === "accepting") {
      this.#engine = message.engine;
      this.#acceptingMs = performance.now();
      this.#heartbeat.received();
      this.#lookForHogs();
    }
    if (this.#waiting?.type === message.type) {
      this.#waiting.resolve(message);
      this.#waiting = undefined;
    } else this.#unread.push(message);
  }
}

type Denied = Pick<Denial, "call" | "path" | "dial">;

/** Whether no innocent app does it. */
export function isAlarm({ dial }: Denied): boolean {
  return dial?.alarming ?? true;
}

/** Tells that a process asked the kernel for what it may not do. */
export function tellDenial({ call, path, dial }: Denied, who: object): void {
  if (dial !== undefined) {
    const { host, port, reason } = dial;
    const address = escapeUntrusted(host, 256);
    const place = JSON.stringify(`${host.includes(":") ? `[${address}]` : address}:${port}`);
    return log.warn("dial_denied", {
      ...{ ...who, call, address, ...port !== undefined && { port }, reason },
      ...reason === NOT_IN_NET && port !== undefined && { allow: `"net": [${place}]` },
    });
  }
  log.error(call.startsWith("exec") ? "exec_denied" : "call_denied", {
    ...{ ...who, call },
    path: path === undefined ? null : escapeUntrusted(path, 256),
  });
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
