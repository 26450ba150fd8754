/** The helper process: serves the methods of one module to the workers that it has lanes from. */
import { type Equipment, type LifeOptions, runLife, type Service } from "../child/life.ts";
import { MAX_NAME_CHARS } from "../protocol/call.ts";
import type { Methods } from "./mod.ts";
import { CallServer } from "./serve.ts";

const RETRIES: readonly unknown[] = ["safe", "never", undefined];

/** Options of the entry file. */
export interface HelperOptions extends Omit<LifeOptions, "equip"> {
  /** Imports the helper's module. */
  load(): Promise<Record<string, unknown>>;
}

/** Runs a helper until it has drained, and exits. */
export async function runHelper({ load, ...options }: HelperOptions): Promise<never> {
  return await runLife({ ...options, equip: (equipment) => serveCalls(equipment, load) });
}

function serveCalls({ configure, handOvers }: Equipment, load: HelperOptions["load"]): Service {
  const { roleConfig } = configure;
  if (roleConfig.role !== "helper") throw new Error(`A helper was told to be a ${roleConfig.role}`);
  let server: CallServer;
  return {
    load: async () => {
      server = new CallServer(toMethods(await load()), roleConfig);
    },
    start: () => {
      handOvers.subscribe(({ message, handle }) => {
        if (message.type !== "worker_lane") throw new Error(`Was handed a ${message.type}`);
        server.addLane(message.worker, handle);
      });
      return "none";
    },
    figures: () => server.figures(),
    drain: () => server.drain(),
    close: () => Promise.resolve(),
  };
}

/**
 * Checks a loaded module.
 *
 * @throws {TypeError} that says what is missing or of the wrong kind
 */
export function toMethods(module: Record<string, unknown>): Methods {
  const methods = module.default as Record<string, Record<string, unknown>> | null | undefined;
  if (typeof methods !== "object" || methods === null || Object.keys(methods).length === 0) {
    throw new TypeError("The module's default export has no methods; export defineHelper({ ... })");
  }
  for (const [name, method] of Object.entries(methods)) {
    if (name.length === 0 || name.length > MAX_NAME_CHARS) {
      throw new TypeError(`A method's name has 1 to ${MAX_NAME_CHARS} characters: ${name}`);
    }
    if (typeof method?.handle !== "function") {
      throw new TypeError(`The method ${name} has no function handle(input, { signal })`);
    }
    if (!RETRIES.includes(method.retry)) {
      throw new TypeError(`The retry of ${name} is neither "safe" nor "never"`);
    }
    for (const side of ["input", "output"]) {
      const schema = method[side] as Record<string, { validate?: unknown }> | undefined;
      if (typeof schema?.["~standard"]?.validate !== "function") {
        throw new TypeError(
          `The ${side} of ${name} is not a schema: use zod or another Standard Schema`,
        );
      }
    }
  }
  return methods as unknown as Methods;
}
