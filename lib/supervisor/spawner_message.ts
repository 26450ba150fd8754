/** What a spawner is asked for, and what the supervisor's main thread and its thread say to each other. */
import type { OutputLimits } from "../base/output_limits.ts";
import type { FolderOwner } from "../os/file.ts";
import type { UnixOutcome } from "../os/dial_unix.ts";
import type { Owner } from "../os/process.ts";
import type { Program } from "../os/spawn.ts";
import type { Wall } from "../sandbox/wall.ts";

/** A process to be; every part of it is computed by the supervisor. */
export interface SpawnRequest extends Omit<Program, "descriptors"> {
  /** Held by the kernel; nothing leaves it to Deno's permissions. */
  readonly wall: Wall | undefined;
  /** Its private folder for temporary files, if it has one. */
  readonly temporary?: string | undefined;
  /** What the process runs; it comes on its standard input. Empty where it has that in itself. */
  readonly source: string;
  /**
   * Reads the modules of the app, in statements: it is given them when it runs. Empty while nobody knows
   * them. They are read when they are needed, since a request is kept as long as its process.
   */
  readonly image: (() => string) | undefined;
  /** Whether it has no channel: what it starts in turn would have that too. */
  readonly alone?: boolean;
  /** How much of what it prints is logged. */
  readonly output: OutputLimits;
}

/**
 * Something small that a thread does itself, confined to it, in place of a process: it makes a folder,
 * finds out whether a folder can be entered, or reads a file that another process writes.
 */
export interface Errand {
  readonly errand: "make" | "enter" | "read";
  /** Of the folder, or of the file. */
  readonly path: string;
  /** The kernel's Landlock ABI; without one the thread has nothing but what it was told. */
  readonly abi: number;
  /** As whom; nothing for who runs the supervisor. */
  readonly account: Owner | undefined;
  /** Whose the folder is then. */
  readonly owner?: FolderOwner | undefined;
}

/** What became of it: the kernel's reason where it failed. */
export type ErrandResult =
  | { readonly type: "done" }
  | { readonly type: "refused" }
  | { readonly type: "read"; readonly text: string }
  | { readonly type: "failed"; readonly error: string };

/** The one message to the thread: confine yourself for good, and start this. */
export interface Spawn {
  readonly wall: Wall | undefined;
  readonly program: Program;
}

export type FromSpawner =
  /** Questions of the kernel come by this descriptor, if there is a wall. */
  | { readonly type: "confined"; readonly questions: number | undefined }
  | { readonly type: "not_confined"; readonly error: string; readonly hint: string }
  | { readonly type: "spawned"; readonly pid: number }
  | { readonly type: "not_spawned"; readonly error: string };

/** What a thread is asked for that dials and never spawns: always for the same owner. */
export interface Dial {
  readonly id: number;
  readonly owner: Owner;
  readonly path: string;
}

/** `failure` is why it could not even try. */
export type Dialled = { readonly id: number } & (UnixOutcome | { readonly failure: string });
