/** Descriptors of listeners: the system calls that Deno does not offer. */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
});

const F_DUPFD_CLOEXEC = Deno.build.os === "darwin" ? 67 : 1030;

/** The lowest number for a duplicate, out of the way of what a child gets by number. */
const LOWEST = 10;

/**
 * Duplicates a descriptor; the caller owns the new one, which no child inherits (fcntl(2)).
 *
 * @throws if the process has no descriptor left
 */
export function duplicate(fd: number): number {
  const copy = libc.symbols.fcntl(fd, F_DUPFD_CLOEXEC, LOWEST);
  if (copy < 0) throw new Error(`Cannot duplicate descriptor ${fd}: none left, or it is closed`);
  return copy;
}

/**
 * Makes a bound socket listen (listen(2)).
 *
 * @returns whether it does; the usual reason against is that another socket listens on its address
 */
export function listen(fd: number, backlog: number): boolean {
  return libc.symbols.listen(fd, backlog) === 0;
}
