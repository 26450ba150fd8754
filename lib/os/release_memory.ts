/** Gives memory back to the kernel that this process holds and does not use. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { loadLibc } from "./libc.ts";

const libc = loadLibc({ malloc_trim: { parameters: ["usize"], result: "i32" } });

let collect: (() => void) | undefined;

/**
 * Collects garbage and gives back what is free then: V8 keeps room for as much as there was at the
 * busiest time, and so does the C library (malloc_trim(3)).
 */
export function releaseMemory(): void {
  (collect ??= findCollector())();
  // Other C libraries give back by themselves, or not at all.
  if (Deno.build.os === "linux") libc.symbols.malloc_trim(0n);
}

/** V8 gives it to a context that is made while it is told to. */
function findCollector(): () => void {
  setFlagsFromString("--expose-gc");
  try {
    return runInNewContext("gc");
  } finally {
    setFlagsFromString("--no-expose-gc");
  }
}
