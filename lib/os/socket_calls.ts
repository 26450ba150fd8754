/** The calls on sockets that several files need (socket(7)). */
import { loadLibc } from "./libc.ts";

export const sockets = loadLibc({
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  shutdown: { parameters: ["i32", "i32"], result: "i32" },
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
});

/** The first numbers, of 32 bits each, of what an option is; nothing where the kernel does not say. */
export function readOption(fd: number, level: number, name: number, count = 1) {
  const numbers = new Int32Array(count);
  const size = new Uint8Array(Int32Array.of(numbers.byteLength).buffer);
  const bytes = new Uint8Array(numbers.buffer);
  return sockets.symbols.getsockopt(fd, level, name, bytes, size) === 0 ? numbers : undefined;
}

/** Sets an option that is a number of 32 bits; @returns whether the kernel has done it */
export function writeOption(fd: number, level: number, name: number, value: number): boolean {
  const bytes = new Uint8Array(Int32Array.of(value).buffer);
  return sockets.symbols.setsockopt(fd, level, name, bytes, bytes.length) === 0;
}
