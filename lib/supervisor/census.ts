/** The processes that were spawned and live, of every generation: what outlives this program. */
import type { Role } from "../protocol/role.ts";

export interface Resident {
  readonly role: Role;
  /** This process's ends of what it is spoken to by. */
  readonly ends: readonly number[];
}

const residents = new Map<number, Resident>();

/** Those that live, by the number of their process. */
export const census: ReadonlyMap<number, Resident> = residents;

const observers = new Set<() => void>();

/**
 * Calls `observe` after each change.
 *
 * @returns ends it
 */
export function observeCensus(observe: () => void): () => void {
  observers.add(observe);
  return () => observers.delete(observe);
}

/** One was spawned. */
export function enter(pid: number, resident: Resident): void {
  residents.set(pid, resident);
  for (const observe of observers) observe();
}

/** One has ended, and Deno has its status. */
export function leave(pid: number): void {
  residents.delete(pid);
  for (const observe of observers) observe();
}
