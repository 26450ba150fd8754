/** Takes what was put before a program, if anything was; nobody finds it there again. */
export function takeProgramData(key: string): unknown {
  const holder = globalThis as unknown as Record<symbol, unknown>;
  const value = holder[Symbol.for(key)];
  delete holder[Symbol.for(key)];
  return value;
}

/** A statement of lib/protocol/program_data.ts. */
const STATEMENT = /^globalThis\[Symbol\.for\((".*?")\)\] = (.*);$/s;

/** Does what the statements of a text would do that were put before a program, where none is read. */
export function readProgramData(text: string): void {
  const holder = globalThis as unknown as Record<symbol, unknown>;
  for (const line of text.split("\n")) {
    const [, key, value] = STATEMENT.exec(line) ?? [];
    if (key === undefined || value === undefined) continue;
    holder[Symbol.for(JSON.parse(key))] = JSON.parse(value);
  }
}
