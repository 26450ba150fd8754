/** Reads the C library's errno of this thread; only right after the call that set it. */
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  errnoLocation: {
    name: Deno.build.os === "darwin" ? "__error" : "__errno_location",
    parameters: [],
    result: "pointer",
  },
  strerror: { parameters: ["i32"], result: "pointer" },
});

/** Numbers that are the same on every system. */
export const [EPERM, EBADF, EACCES, EFAULT, EINVAL] = [1, 9, 13, 14, 22] as const;

export function errno(): number {
  return new Deno.UnsafePointerView(libc.symbols.errnoLocation()!).getInt32();
}

/** What a number of errno means, in the C library's words (strerror(3)). */
export function describeErrno(code: number): string {
  const words = new Deno.UnsafePointerView(libc.symbols.strerror(code)!).getCString();
  return `${words} (errno ${code})`;
}

/** Throws an error that says what the C library could not do, and why. */
export function fail(what: string): never {
  throw new Error(`Cannot ${what}: ${describeErrno(errno())}`);
}
