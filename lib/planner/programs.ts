/** Holdfast's own programs, each bundled into one text. */
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod/mini";

/** Holdfast's own folder. */
export const HOLDFAST_FOLDER = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Holdfast's own programs, relative to its folder. */
export const ENTRIES = {
  worker: "worker.ts",
  helper: "lib/helper/main.ts",
  logger: "lib/logger/main.ts",
  metrics: "lib/metrics/main.ts",
  resolver: "lib/resolver/main.ts",
  acme: "lib/acme/main.ts",
  spawner: "lib/supervisor/spawner_thread.ts",
  planner: "lib/planner/main.ts",
};

/** Holdfast's own part of each process, and of a spawner thread that comes from no file. */
export type OwnPrograms = z.infer<typeof OwnPrograms>;
export const OwnPrograms = z.strictObject({
  worker: z.string(),
  helper: z.string(),
  logger: z.string(),
  metrics: z.string(),
  resolver: z.string(),
  acme: z.string(),
  spawner: z.optional(z.string()),
  /** Nothing in an executable, whose image is part of it. */
  planner: z.optional(z.string()),
  /** A DENO_DIR with what Deno has compiled of them, if it could be kept. */
  cache: z.optional(z.string()),
});

/** Where a planner starts: what is compiled of its program is found by that. */
export const PLANNER_CWD = "/";

/** What is said where they cannot be bundled. */
export const BUNDLE_FAILED = {
  kind: "environment",
  code: "bundle_failed",
  hint: "The first start needs the npm registry, for the bundler that Deno brings",
} as const;

/** What the programs are made of, and by which deno: the sources, the import map, the lock. */
export function digestSources(holdfast: string): string {
  const hash = createHash("sha256").update(JSON.stringify(Deno.version));
  const files = readdirSync(join(holdfast, "lib"), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts")).map((name) => join("lib", name)).sort();
  for (const name of [ENTRIES.worker, "deno.json", "deno.lock", ...files]) {
    const text = Deno.readFileSync(join(holdfast, name));
    hash.update(`${name} ${text.length}\n`).update(text);
  }
  return hash.digest("hex");
}
