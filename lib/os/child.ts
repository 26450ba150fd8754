/** Children that Deno knows nothing of: they are waited for here, and nobody else takes their status. */
import { constants } from "node:os";
import { errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const PIDFD_OPEN = 434n;
const SIGKILL = 9;
const WNOHANG = 1;
const ECHILD = 10;

const libc = loadLibc({
  kill: { parameters: ["i32", "i32"], result: "i32" },
  pidfdOpen: { name: "syscall", parameters: ["i64", "i64", "u64"], result: "i64" },
  waitpid: { parameters: ["i32", "buffer", "i32"], result: "i32" },
});

/** How a process ended; neither is known where somebody else took its status. */
export interface ExitStatus {
  readonly code: number | undefined;
  readonly signal: string | undefined;
}

/**
 * Takes a child's status if it has ended (waitpid(2)); its number may be another process's then.
 *
 * @returns nothing while it lives
 */
export function takeStatus(pid: number): ExitStatus | undefined {
  const bytes = new Uint8Array(4);
  const found = libc.symbols.waitpid(pid, bytes, WNOHANG);
  if (found < 0 && errno() === ECHILD) return { code: undefined, signal: undefined };
  if (found !== pid) return undefined;
  const status = new DataView(bytes.buffer).getInt32(0, true);
  const signal = status & 0x7f;
  if (signal === 0) return { code: status >> 8 & 0xff, signal: undefined };
  return { code: undefined, signal: SIGNALS.get(signal) ?? `signal ${signal}` };
}

const SIGNALS: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name]),
);

/** Kills a child whose status was not taken yet. */
export function killChild(pid: number): void {
  libc.symbols.kill(pid, SIGKILL);
}

/**
 * A descriptor at which something can be read when a process has ended (pidfd_open(2)).
 *
 * @returns nothing where there is none: Linux has it, and the limit of descriptors may be reached
 */
export function openExit(pid: number): number | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const fd = Number(libc.symbols.pidfdOpen(PIDFD_OPEN, BigInt(pid), 0n));
  return fd < 0 ? undefined : fd;
}
