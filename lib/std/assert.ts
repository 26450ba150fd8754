/**
 * The `@std/assert` names that this project uses, over `node:assert/strict`.
 * Going to JSR is one line in `deno.json`.
 */
import strict from "node:assert/strict";

type ErrorClass<E extends Error> = abstract new (...args: never[]) => E;

export function assert(condition: unknown, message?: string): asserts condition {
  strict.ok(condition, message);
}

export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  strict.deepStrictEqual(actual, expected, message);
}

export function assertNotEquals<T>(actual: T, expected: T, message?: string): void {
  strict.notDeepStrictEqual(actual, expected, message);
}

export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  strict.match(actual, expected, message);
}

export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  strict.ok(
    actual.includes(expected),
    message ?? `Expected ${JSON.stringify(actual)} to include ${JSON.stringify(expected)}`,
  );
}

export function assertThrows<E extends Error>(
  run: () => unknown,
  kind: ErrorClass<E>,
  includes = "",
): E {
  let caught: unknown;
  strict.throws(run, (error) => (caught = error, error instanceof kind));
  assertStringIncludes((caught as E).message, includes);
  return caught as E;
}

export async function assertRejects<E extends Error>(
  run: () => Promise<unknown>,
  kind: ErrorClass<E>,
  includes = "",
): Promise<E> {
  let caught: unknown;
  await strict.rejects(run, (error) => (caught = error, error instanceof kind));
  assertStringIncludes((caught as E).message, includes);
  return caught as E;
}

export function fail(message?: string): never {
  strict.fail(message ?? "failed");
}
