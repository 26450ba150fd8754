/**
 * The C library: the one place that loads it. Everything that calls it is in this folder, so that
 * an auditor finds all of it here.
 */

const NAMES: Partial<Record<typeof Deno.build.os, string>> = {
  linux: "libc.so.6",
  darwin: "libSystem.B.dylib",
};

/** Functions of the C library, loaded when the first is called: not every system has all. */
export function loadLibc<const Symbols extends Deno.ForeignLibraryInterface>(symbols: Symbols) {
  let library: Deno.DynamicLibrary<Symbols> | undefined;
  return {
    get symbols(): Deno.StaticForeignLibraryInterface<Symbols> {
      library ??= Deno.dlopen(NAMES[Deno.build.os] ?? "libc.so", symbols);
      return library.symbols;
    },
  };
}
