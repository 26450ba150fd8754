/** Holdfast's own programs, each bundled into one text. */
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { runProgram } from "./deno.ts";

/** Holdfast's own folder. */
export const HOLDFAST_FOLDER = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Holdfast's own programs, relative to its folder. */
export const ENTRIES = {
  worker: "worker.ts",
  helper: "lib/helper/main.ts",
  logger: "lib/logger/main.ts",
  metrics: "lib/metrics/main.ts",
  resolver: "lib/resolver/main.ts",
  spawner: "lib/supervisor/spawner_thread.ts",
  planner: "lib/planner/main.ts",
};

/** Holdfast's own part of each process, and of a spawner thread that comes from no file. */
export type OwnPrograms = z.infer<typeof OwnPrograms>;
const OwnPrograms = z.strictObject({
  worker: z.string(),
  helper: z.string(),
  logger: z.string(),
  metrics: z.string(),
  resolver: z.string(),
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

/** Where a program's text lies that was bundled beforehand, as in an executable's image. */
export function prebuiltPath(holdfast: string, entry: string): string {
  return join(holdfast, entry.replace(/\.ts$/, ".js"));
}

/** The text of a program that was bundled beforehand; a source tree has none. */
export async function readPrebuilt(entry: string, holdfast: string = HOLDFAST_FOLDER) {
  try {
    return await Deno.readTextFile(prebuiltPath(holdfast, entry));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Takes all of Holdfast's own programs into memory: whatever becomes of its folder, what runs stays
 * what was started until an upgrade. They are bundled once for each state of the sources, and kept
 * beside what Deno itself has compiled of them.
 *
 * @param folder where they may lie while they are made
 * @param denoDir the user's DENO_DIR
 * @throws {HoldfastError} if they cannot be bundled
 */
export async function loadPrograms(
  folder: string,
  denoDir: string,
  signal: AbortSignal,
  holdfast: string = HOLDFAST_FOLDER,
): Promise<OwnPrograms> {
  const deno = denoProgram();
  // The processes are spawned past the runtime, which checks nothing then.
  const { state } = Deno.permissions.querySync({ name: "run", command: deno });
  if (state !== "granted") throw new Deno.errors.NotCapable(`No --allow-run=${deno}`);
  const kept = join(denoDir, "holdfast", `${digestSources(holdfast)}.json`);
  try {
    return OwnPrograms.parse(JSON.parse(await Deno.readTextFile(kept)));
  } catch {
    // There is none, or a power failure has cut it.
  }
  const writes = [folder, dirname(kept)].map((each) => each.replaceAll(",", ",,"));
  const grants = [`--allow-write=${writes}`, `--allow-run=${deno}`, "--allow-read", "--allow-env"];
  const entry = join(HOLDFAST_FOLDER, "lib/planner/make_programs.ts");
  const args = ["run", "--quiet", "--no-prompt", ...grants, entry, holdfast, folder, kept];
  try {
    return OwnPrograms.parse(JSON.parse(await runProgram(deno, args, { cwd: "/", signal })));
  } catch (error) {
    throw new HoldfastError((error as Error).message, { ...BUNDLE_FAILED, cause: error });
  }
}

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
