/** What the supervisor's main thread and a spawner thread say to each other. */
import type { OutputLimits } from "../base/output_limits.ts";
import type { DescriptorKind, HandOver } from "../protocol/hand_over.ts";
import type { ToSupervisor } from "../protocol/to_supervisor.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import type { ViolationCode } from "../protocol/violation.ts";
import type { Wall } from "../sandbox/wall.ts";

/** A worker to be; every part of it is computed by the supervisor. */
export interface SpawnRequest {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  /** What the worker runs; it comes on its standard input. */
  readonly source: string;
  /** How much of what it prints is logged. */
  readonly output: OutputLimits;
  /** Ids to run as; only root may say. */
  readonly account: { readonly uid: number; readonly gid: number } | undefined;
}

/** A descriptor to be handed over. */
export interface HandOverItem {
  readonly descriptor: number;
  readonly kind: DescriptorKind;
  readonly message: HandOver;
}

/** How a process ended. */
export interface ExitStatus {
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

/** Workers ignore every signal that can be ignored. */
export type WorkerSignal = "SIGKILL";

/** The first message: confine this thread for good, or leave it to Deno's permissions. */
export interface Confine {
  readonly type: "confine";
  readonly wall: Wall | undefined;
}

export type ToSpawner =
  | { readonly type: "spawn"; readonly worker: number; readonly request: SpawnRequest }
  /** The descriptors are the thread's own from here on. */
  | { readonly type: "hand_over"; readonly worker: number; readonly items: readonly HandOverItem[] }
  | { readonly type: "command"; readonly worker: number; readonly command: ToWorker }
  | { readonly type: "signal"; readonly worker: number; readonly signal: WorkerSignal };

/** What a spawner says of itself. */
export type SpawnerState =
  /** Questions of the kernel come by this descriptor, if there is a wall. */
  | { readonly type: "confined"; readonly questions: number | undefined }
  | { readonly type: "not_confined"; readonly error: string; readonly hint: string }
  /** It cannot go on; the thread ends. */
  | { readonly type: "failed"; readonly error: string };

export type FromSpawner =
  | {
    readonly type: "spawned";
    readonly worker: number;
    readonly pid: number;
    /** This process's ends of the channel and of what it is handed descriptors by. */
    readonly ends: readonly number[];
  }
  | { readonly type: "message"; readonly worker: number; readonly message: ToSupervisor }
  | {
    readonly type: "violation";
    readonly worker: number;
    readonly rule: ViolationCode;
    readonly detail: string;
  }
  | {
    readonly type: "output";
    readonly worker: number;
    readonly stream: "stdout" | "stderr";
    readonly text: string;
  }
  /** It asked the kernel for what it may not do. */
  | {
    readonly type: "denied";
    readonly worker: number;
    readonly call: string;
    readonly path: string | undefined;
  }
  | {
    readonly type: "output_dropped";
    readonly worker: number;
    readonly stream: "stdout" | "stderr";
    readonly lines: number;
    readonly bytes: number;
  }
  | {
    readonly type: "exited";
    readonly worker: number;
    readonly status: ExitStatus;
    /** Why it could not be spawned or handed its listeners, if it could not. */
    readonly error: string | undefined;
  };
