/** Reads text from the memory of another process, for the log (process_vm_readv(2)). */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  process_vm_readv: {
    parameters: ["i32", "buffer", "u64", "buffer", "u64", "u64"],
    result: "isize",
  },
});

/** How much of a path is read, in bytes. */
const MAX_BYTES = 256;

/** The NUL-ended text at `address` of process `pid`; nothing if it cannot be read. */
export function readProcessText(pid: number, address: bigint): string | undefined {
  const text = new Uint8Array(MAX_BYTES);
  const own = new BigUint64Array([
    BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(text))),
    BigInt(text.length),
  ]);
  const remote = new BigUint64Array([address, BigInt(text.length)]);
  const bytes = (words: BigUint64Array<ArrayBuffer>) => new Uint8Array(words.buffer);
  const length = libc.symbols.process_vm_readv(pid, bytes(own), 1n, bytes(remote), 1n, 0n);
  if (length <= 0n) return undefined;
  const end = text.indexOf(0);
  return new TextDecoder().decode(text.subarray(0, end < 0 ? Number(length) : end));
}
