/** A statement before a program that puts a value there for it (lib/child/program_data.ts takes it). */
export function programData(key: string, value: unknown): string {
  return `globalThis[Symbol.for(${JSON.stringify(key)})] = ${JSON.stringify(value)};\n`;
}
