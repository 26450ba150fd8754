/** What a worker or a helper may use up, as the limits of getrlimit(2). Pure. */
import type { Compartment } from "../config/config.ts";

/** RLIMIT_* of linux/resource.h: the same on x86_64 and aarch64. */
const RESOURCES = {
  fileSize: 1,
  data: 2,
  core: 4,
  processes: 6,
  descriptors: 7,
} as const;

/** Addresses that V8 reserves for code; they count as data from the start, used or not. */
const RESERVED_BYTES = 512 * 2 ** 20;

/** One limit; the soft and the hard one are the same, so that it cannot be raised again. */
export interface Limit {
  readonly resource: number;
  readonly name: keyof typeof RESOURCES;
  readonly value: number;
}

/** The limits of a config's workers. A memory image of a worker is never written: it holds secrets. */
export function workerLimits({ limits }: Pick<Compartment, "limits">): Limit[] {
  const values: Partial<Record<keyof typeof RESOURCES, number | undefined>> = {
    core: 1, // With 0 a program that core_pattern names would still get it (core(5)).
    descriptors: limits.descriptors,
    processes: limits.processes,
    fileSize: limits.fileBytes,
    data: limits.memoryBytes && limits.memoryBytes + RESERVED_BYTES,
  };
  return (Object.keys(values) as (keyof typeof RESOURCES)[]).flatMap((name) => {
    const value = values[name];
    return value === undefined ? [] : [{ resource: RESOURCES[name], name, value }];
  });
}
