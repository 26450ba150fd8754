/** Options of sockets (getsockopt(2)). */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
});

/** The first numbers, of 32 bits each, of what an option is; nothing where the kernel does not say. */
export function readOption(fd: number, level: number, name: number, count = 1) {
  const numbers = new Int32Array(count);
  const size = new Uint8Array(Int32Array.of(numbers.byteLength).buffer);
  const bytes = new Uint8Array(numbers.buffer);
  return libc.symbols.getsockopt(fd, level, name, bytes, size) === 0 ? numbers : undefined;
}
