/**
 * The environment as the app has it. What is not granted is not there; what the app sets by itself, as
 * dotenv does, stays set in this process, and steers nothing of the runtime.
 */

/** What frameworks take for the way in which they run, where nothing else is said. */
const DEFAULTS: Readonly<Record<string, string>> = { NODE_ENV: "production" };

/**
 * Puts it in place; `node:process` has the same one.
 *
 * @param granted the names that the runtime itself knows
 * @param miss is told of each that is asked for and is none of them, and was not set
 * @param use is told of each that is asked for and is one of them
 */
export function installEnvironment(
  granted: readonly string[],
  miss: (name: string) => void,
  use: (name: string) => void,
): void {
  const runtime = { ...Deno.env };
  const native = new Set(granted);
  const own = new Map<string, string>();
  const isOwn = (name: string) => !native.has(name);
  Object.assign(
    Deno.env,
    {
      get: (name) => {
        const value = own.get(name) ?? runtime.get(name);
        if (!isOwn(name)) use(name);
        else if (value === undefined) miss(name);
        return value;
      },
      has: (name) => {
        if (!isOwn(name)) use(name);
        return own.has(name) || runtime.has(name);
      },
      set: (name, value) => {
        // The runtime says what is no name and no value, and forgets the rest.
        runtime.set(name, value);
        if (isOwn(name)) own.set(String(name), String(value));
      },
      delete: (name) => {
        runtime.delete(name);
        own.delete(String(name));
      },
      toObject: () => {
        native.forEach(use);
        return { ...runtime.toObject(), ...Object.fromEntries(own) };
      },
    } satisfies Deno.Env,
  );
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (!runtime.has(name)) own.set(name, value);
  }
}
