/** Functions of the runtime that are replaced by ones that explain their errors. */

export type Method = (this: unknown, ...all: unknown[]) => unknown;

/** Puts a function in the place of another one, with what that has besides. */
export function replace(holder: object, name: string, value: Method): void {
  const original = (holder as Record<string, object>)[name]!;
  const { prototype: _, ...own } = Object.getOwnPropertyDescriptors(
    original,
  ) as PropertyDescriptorMap;
  Object.defineProperties(value, own);
  const facts = { value, writable: true, configurable: true, enumerable: true };
  Object.defineProperty(holder, name, facts);
}

/** What becomes of the error of a call. */
export type Explain = (error: unknown) => unknown;

/**
 * Calls a function; its error is explained, whether it throws it, rejects, gives it to a callback or emits
 * it.
 */
export function callExplained(original: Method, self: unknown, all: unknown[], explain: Explain) {
  const last = all.at(-1);
  if (typeof last === "function") {
    all[all.length - 1] = function (this: unknown, error: unknown, ...values: unknown[]) {
      return Reflect.apply(last, this, [error && explain(error), ...values]);
    };
  }
  try {
    const result = Reflect.apply(original, self, all);
    return result instanceof Promise ? explained(result, explain) : result;
  } catch (error) {
    throw explain(error);
  }
}

async function explained(result: Promise<unknown>, explain: Explain): Promise<unknown> {
  try {
    return await result;
  } catch (error) {
    throw explain(error);
  }
}

/** Explains an error that an emitter emits. */
export function explainEvents<
  Emitter extends { emit(name: string, ...all: unknown[]): boolean },
>(emitter: Emitter, explain: Explain): Emitter {
  const { emit } = emitter;
  emitter.emit = (name, ...all) => {
    if (name === "error" && all[0] instanceof Error) explain(all[0]);
    return Reflect.apply(emit, emitter, [name, ...all]);
  };
  return emitter;
}
