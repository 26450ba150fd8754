/** What is told of a process that was spawned, and what it is handed. */
import type { HoldfastError } from "../base/error.ts";
import type { ExitStatus } from "../os/child.ts";
import type { DescriptorKind, HandOver } from "../protocol/hand_over.ts";
import type { ToSupervisor } from "../protocol/to_supervisor.ts";
import type { ViolationCode } from "../protocol/violation.ts";
import type { ChildEnds } from "./child_ends.ts";
import type { DiallingMode } from "./dialling.ts";
import type { Denial } from "./guard.ts";

/** A descriptor to be handed over. */
export interface HandOverItem {
  readonly descriptor: number;
  readonly kind: DescriptorKind;
  readonly message: HandOver;
}

/** Workers ignore every signal that can be ignored. */
export type WorkerSignal = "SIGKILL";

export type Stream = "stdout" | "stderr";

/** What is told of a process. */
export type ChildEvent =
  | { readonly type: "message"; readonly message: ToSupervisor }
  | { readonly type: "violation"; readonly rule: ViolationCode; readonly detail: string }
  | { readonly type: "output"; readonly stream: Stream; readonly text: string }
  | {
    readonly type: "output_dropped";
    readonly stream: Stream;
    readonly lines: number;
    readonly bytes: number;
  }
  | {
    readonly type: "exited";
    readonly status: ExitStatus;
    /** Why it could not be spawned or handed its listeners, if it could not. */
    readonly error: string | undefined;
    /** The same, where it could not be confined. */
    readonly failure?: HoldfastError;
  };

/** What is told of a process that was asked for. */
export type SpawnerEvent =
  | {
    readonly type: "spawned";
    readonly pid: number;
    /** Whether the kernel holds it. */
    readonly confined: boolean;
    /** How far the kernel's layer judges its dialling; nothing without a wall. */
    readonly dialling: DiallingMode | undefined;
    /** Those that are open, at any time. */
    readonly ends: () => ChildEnds;
  }
  /** It asked the kernel for what it may not do. */
  | { readonly type: "denied" } & Pick<Denial, "call" | "path" | "dial">
  | ChildEvent;
