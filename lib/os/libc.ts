/**
 * The C library: the one place that loads it. Everything that calls it is in this folder, so that
 * an auditor finds all of it here.
 */

const NAMES: Partial<Record<typeof Deno.build.os, string>> = {
  linux: "libc.so.6",
  darwin: "libSystem.B.dylib",
};

/** Loads functions of the C library. */
export function loadLibc<const Symbols extends Deno.ForeignLibraryInterface>(symbols: Symbols) {
  return Deno.dlopen(NAMES[Deno.build.os] ?? "libc.so", symbols);
}
