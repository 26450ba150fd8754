/** Reads the memory of another process (process_vm_readv(2)). */
import { EFAULT, errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  process_vm_readv: {
    parameters: ["i32", "buffer", "u64", "buffer", "u64", "u64"],
    result: "isize",
  },
});

/** How much of a path is read, in bytes. */
const MAX_PATH_BYTES = 256;

/** What lies at `address` of process `pid`, up to a length; nothing if none of it can be read. */
export function readMemory(
  pid: number,
  address: bigint,
  length: number,
): Uint8Array<ArrayBuffer> | undefined {
  const found = new Uint8Array(length);
  const own = new BigUint64Array([
    BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(found))),
    BigInt(length),
  ]);
  const remote = new BigUint64Array([address, BigInt(length)]);
  const bytes = (words: BigUint64Array<ArrayBuffer>) => new Uint8Array(words.buffer);
  const read = libc.symbols.process_vm_readv(pid, bytes(own), 1n, bytes(remote), 1n, 0n);
  return read > 0n ? found.subarray(0, Number(read)) : undefined;
}

/**
 * Whether this process may read that of another: its rights are looked at before the address is, and
 * nothing lies at this one.
 */
export function mayReadMemory(pid: number): boolean {
  return readMemory(pid, 0n, 1) === undefined && errno() === EFAULT;
}

/** The NUL-ended text at `address` of process `pid`, cut; nothing if it cannot be read. */
export function readProcessText(pid: number, address: bigint): string | undefined {
  const text = readMemory(pid, address, MAX_PATH_BYTES);
  if (text === undefined) return undefined;
  const end = text.indexOf(0);
  return new TextDecoder().decode(end < 0 ? text : text.subarray(0, end));
}
