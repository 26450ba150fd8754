/** What the kernel tells of a process that says nothing itself, or is not to be believed. */
import type { Config } from "../config/config.ts";
import { readProcess } from "../os/file.ts";

/** What of a process is in memory; 0 where the kernel does not say. */
export function residentBytes(pid: number): number {
  const [, kibibytes] = readProcess(pid, "status")?.match(/^VmRSS:\s*(\d+) kB$/m) ?? [];
  return Number(kibibytes ?? 0) * 1024;
}

/** How many descriptors a process may have; nothing where the kernel does not say. */
export function descriptorLimit(pid: number): number | undefined {
  const [, soft] = readProcess(pid, "limits")?.match(/^Max open files\s+(\d+)/m) ?? [];
  return soft === undefined ? undefined : Number(soft);
}

/** What is left to a worker besides connections, and for those that the kernel hands over at once. */
const SPARED_DESCRIPTORS = 768;

/** How many connections a worker takes: with few descriptors, as many as it has, for good or ill. */
export function connectionLimit({ http, limits }: Config, pid: number): number {
  const descriptors = descriptorLimit(pid) ?? limits.descriptors;
  const most = descriptors - (descriptors < 2 * SPARED_DESCRIPTORS ? 0 : SPARED_DESCRIPTORS);
  return http.maxConnections === 0 ? most : Math.min(http.maxConnections, most);
}

/** How much of a stack is told, its innermost part. */
const MAX_CALLS = 12;

export interface MainThread {
  /** Such as `R (running)`, `S (sleeping)`, `D (disk sleep)` or `T (stopped)`. */
  readonly state?: string;
  /** The number of the system call that it is in, and `running` if it is in none. */
  readonly call?: string;
  /** Where in the kernel it waits. */
  readonly waitsIn?: string;
  /** Its calls within the kernel, the innermost first. */
  readonly kernelStack?: string[];
}

/**
 * Looks at the main thread of a process, on which its JavaScript runs (proc(5)): whether it computes
 * or waits, and where in the kernel. Of its JavaScript nobody but itself can tell. The kernel stack
 * takes CAP_SYS_ADMIN, the rest the right to trace it; what the kernel does not say is left out.
 */
export function diagnoseHang(pid: number): MainThread {
  const [, state] = readProcess(pid, "status")?.match(/^State:\s*(.+)$/m) ?? [];
  const [call] = readProcess(pid, "syscall")?.trim().split(" ") ?? [];
  const waitsIn = readProcess(pid, "wchan");
  const calls = readProcess(pid, "stack")?.match(/(?<=\] )\S+(?=\+0x)/g);
  return {
    ...state !== undefined && { state },
    ...call && { call },
    ...waitsIn && waitsIn !== "0" && { waitsIn },
    ...calls && { kernelStack: calls.slice(0, MAX_CALLS) },
  };
}
