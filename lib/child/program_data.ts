/** Takes what was put before a program, if anything was; nobody finds it there again. */
export function takeProgramData(key: string): unknown {
  const holder = globalThis as unknown as Record<symbol, unknown>;
  const value = holder[Symbol.for(key)];
  delete holder[Symbol.for(key)];
  return value;
}
