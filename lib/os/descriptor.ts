/** Descriptors of listeners: the system calls that Deno does not offer. */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  close: { parameters: ["i32"], result: "i32" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
});

/** Closes a descriptor that nobody took over (close(2)). */
export function closeDescriptor(fd: number): void {
  libc.symbols.close(fd);
}

/**
 * Makes a bound socket listen (listen(2)) and closes the descriptor that named it.
 *
 * @param fd a duplicate, which is the caller's to give away
 * @returns whether it listens; the usual reason against is that another socket has its address
 */
export function listenAndClose(fd: number, backlog: number): boolean {
  const listens = libc.symbols.listen(fd, backlog) === 0;
  closeDescriptor(fd);
  return listens;
}
