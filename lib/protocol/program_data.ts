/** What may become code in a process once it has started. */
export interface CodePolicy {
  /** Whether V8 compiles: else it interprets (`--jitless`), and no memory becomes code any more. */
  readonly compiled: boolean;
  /** Whether files do, which are libraries: the C library loads some when it looks names up. */
  readonly libraries: boolean;
}

/** Under which key a process finds its {@link CodePolicy}, for `lib/child/later_filter.ts`. */
export const CODE_KEY = "holdfast.code";

/** A statement before a program that puts a value there for it (lib/child/program_data.ts takes it). */
export function programData(key: string, value: unknown): string {
  return `globalThis[Symbol.for(${JSON.stringify(key)})] = ${JSON.stringify(value)};\n`;
}
