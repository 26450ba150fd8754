/** Freezes a value with all that is in it. */
export function freezeConfig<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) freezeConfig(inner);
  return Object.freeze(value);
}
