/**
 * Modules of Node's in which functions were replaced: an import by name would find the ones before. A
 * facade has the name of each that was replaced, and passes the others on.
 */
import { REPLACED_ENDS } from "./abort.ts";
import { REPLACED_LOOKUPS } from "./dials.ts";
import { REPLACED_LOOKERS } from "./quiet_refusals.ts";
import { REPLACED_READERS } from "./reads.ts";
import { REPLACED_STARTERS } from "./starts.ts";
import { REPLACED_FACTS } from "./system_facts.ts";
import { REPLACED_WRITERS } from "./uses.ts";

const PREFIX = "holdfast:";

const REPLACED: Readonly<Record<string, readonly string[]>> = {
  ...REPLACED_FACTS,
  ...REPLACED_READERS,
  ...REPLACED_STARTERS,
  ...REPLACED_LOOKUPS,
  ...REPLACED_LOOKERS,
  process: [...REPLACED_FACTS.process, ...REPLACED_ENDS.process],
  fs: [...REPLACED_READERS.fs, ...REPLACED_LOOKERS.fs, ...REPLACED_WRITERS.fs],
  "fs/promises": [
    ...REPLACED_READERS["fs/promises"],
    ...REPLACED_LOOKERS["fs/promises"],
    ...REPLACED_WRITERS["fs/promises"],
  ],
};

/** The URL of the facade that an import gets, if there is one. */
export function facadeUrl(specifier: string, parentURL: string): string | undefined {
  const name = specifier.startsWith("node:") ? specifier.slice("node:".length) : specifier;
  if (!Object.hasOwn(REPLACED, name) || parentURL.startsWith(PREFIX)) return undefined;
  return PREFIX + name;
}

/** The source of a facade. */
export function facadeSource(url: string): string | undefined {
  const name = url.startsWith(PREFIX) ? url.slice(PREFIX.length) : "";
  const replaced = Object.hasOwn(REPLACED, name) ? REPLACED[name]! : undefined;
  if (replaced === undefined) return undefined;
  return [
    `import builtin from "node:${name}";`,
    `export * from "node:${name}";`,
    "export default builtin;",
    ...replaced.map((each) => `export const ${each} = builtin.${each};`),
  ].join("\n");
}
