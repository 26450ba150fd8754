/**
 * Opens files past Deno's permissions: with the rights of the calling thread, which may be confined,
 * and those of proc(5), for which Deno asks for every permission there is.
 */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
});

const O_RDONLY_CLOEXEC = 0o2000000;

/** Files of proc(5) that are read here are shorter. */
const MAX_BYTES = 8192;

function open(path: string): number {
  return libc.symbols.open(new TextEncoder().encode(`${path}\0`), O_RDONLY_CLOEXEC);
}

/** Whether the calling thread can open a file for reading. */
export function canOpen(path: string): boolean {
  const fd = open(path);
  if (fd >= 0) libc.symbols.close(fd);
  return fd >= 0;
}

/** Text of a process or a thread, such as `stat` or `status` (proc(5)); nothing if it is gone. */
export function readProcess(id: number, name: string): string | undefined {
  const fd = open(`/proc/${id}/${name}`);
  if (fd < 0) return undefined;
  const bytes = new Uint8Array(MAX_BYTES);
  const length = Number(libc.symbols.read(fd, bytes, BigInt(bytes.length)));
  libc.symbols.close(fd);
  return length < 0 ? undefined : new TextDecoder().decode(bytes.subarray(0, length));
}
