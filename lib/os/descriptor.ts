/** Descriptors of listeners: the system calls that Deno does not offer. */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  close: { parameters: ["i32"], result: "i32" },
  close_range: { parameters: ["u32", "u32", "i32"], result: "i32" },
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

const CLOSE_RANGE_CLOEXEC = 4;

/**
 * Keeps every descriptor but the three standard ones from the programs that this process starts
 * (close_range(2)): what whoever started it left open is not for a worker. Linux only; elsewhere
 * nothing happens.
 */
export function keepDescriptors(): void {
  if (Deno.build.os === "linux") libc.symbols.close_range(3, 0xffffffff, CLOSE_RANGE_CLOEXEC);
}
