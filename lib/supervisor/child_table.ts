/**
 * The children of this process that live and are known: those that were spawned, of every generation,
 * and those that an upgrade left. It is what outlives this program.
 */
import { type ExitStatus, openExit, takeStatus } from "../os/child.ts";
import type { Role } from "../protocol/role.ts";
import type { ChildEnds } from "./child_ends.ts";
import { watch } from "./watch.ts";

/** How often a child is looked at of which the kernel does not tell the end. */
const LOOK_INTERVAL_MS = 100;

export interface ChildRecord {
  readonly role: Role;
  readonly onViolation: "replace" | "log";
  /** Whom it may dial. */
  readonly dials: readonly string[];
  /** When it is killed if it has not left, in milliseconds since the epoch; once it was told to leave. */
  readonly endsAtMs: number | undefined;
  /** As they are at the time. */
  readonly ends: ChildEnds;
}

const table = new Map<number, ChildRecord>();

/** By the number of their process. */
export const children: ReadonlyMap<number, ChildRecord> = table;

const observers = new Set<() => void>();

/**
 * Calls `observe` after each change.
 *
 * @returns ends it
 */
export function observeChildren(observe: () => void): () => void {
  observers.add(observe);
  return () => observers.delete(observe);
}

export function addChild(pid: number, record: ChildRecord): void {
  table.set(pid, record);
  for (const observe of observers) observe();
}

/** Its status was taken. */
export function removeChild(pid: number): void {
  if (!table.delete(pid)) return;
  for (const observe of observers) observe();
}

/** Takes the status of a child when it has ended, and tells it. */
export function watchExit(pid: number, receive: (status: ExitStatus) => void): void {
  const look = () => {
    const status = takeStatus(pid);
    if (status === undefined) return;
    end();
    receive(status);
  };
  const fd = openExit(pid);
  let end: () => void;
  if (fd !== undefined) end = watch(fd, look);
  else {
    const interval = setInterval(look, LOOK_INTERVAL_MS);
    end = () => clearInterval(interval);
  }
}
