/** Takes Holdfast's own programs into memory. */
import { dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";
import { SETTINGS_FILES } from "../config/project_files.ts";
import { makeLink } from "../os/file.ts";
import { BUNDLE_FAILED, digestSources, HOLDFAST_FOLDER, OwnPrograms } from "../planner/programs.ts";
import { denoProgram } from "./deno_program.ts";
import { runErrand } from "./errand.ts";
import { isFolder } from "./image_store.ts";
import { type OwnRun, runOwn } from "./run_own.ts";

/** Of a DENO_DIR: packages, the bundler, and modules. What it has compiled is its own. */
const SHARED = ["npm", "dl", "remote"];

/**
 * Takes all of Holdfast's own programs into memory: whatever becomes of its folder, what runs stays
 * what was started until an upgrade. They are bundled once for each state of the sources, and kept
 * beside what Deno itself has compiled of them.
 *
 * @param folder where they may lie while they are made
 * @param denoDir the user's DENO_DIR
 * @param wall what holds the process that bundles them
 * @throws {HoldfastError} if they cannot be bundled
 */
export async function loadPrograms(
  folder: string,
  denoDir: string,
  signal: AbortSignal,
  wall: Config["wall"] = "kernel",
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
  const place = await Deno.makeTempDir({ dir: folder });
  try {
    for (const each of [denoDir, dirname(kept)].filter((each) => !isFolder(each))) {
      // It may be another user's, read-only or full: then they are made at each start.
      await runErrand({ errand: "make", folder: each, account: undefined }, undefined)
        .catch(() => {});
    }
    const run = (network: "none" | "names") =>
      runOwn(bundling({ place, denoDir, kept, holdfast, network, wall, signal }));
    let text: string;
    try {
      text = await run("none");
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof HoldfastError) throw error;
      text = await run("names");
    }
    return OwnPrograms.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError((error as Error).message, { ...BUNDLE_FAILED, cause: error });
  } finally {
    await Deno.remove(place, { recursive: true });
  }
}

interface Bundling extends Pick<OwnRun, "signal" | "denoDir"> {
  /** A fresh folder. */
  readonly place: string;
  /** Where the programs are kept. */
  readonly kept: string;
  readonly holdfast: string;
  readonly wall: Config["wall"];
  /** Whether the bundler can be fetched. */
  readonly network: "none" | "names";
}

/** It reads Holdfast and the cache, and writes a folder of its own; to fetch, the cache too. */
function bundling(
  { place, denoDir, kept, holdfast, network, wall, signal }: Bundling,
): OwnRun {
  const deno = denoProgram();
  const own = join(place, "deno");
  const fetches = network === "names";
  if (!fetches) {
    Deno.mkdirSync(own);
    const shared = SHARED.filter((name) => isFolder(join(denoDir, name)));
    for (const name of shared) makeLink(join(denoDir, name), join(own, name));
  }
  const writes = [place, dirname(kept)];
  const cache = [denoDir, ...SHARED.map((name) => join(denoDir, name))];
  const roots = [...new Set([HOLDFAST_FOLDER, holdfast])];
  // For the settings above it, which Deno looks for.
  const settings = [...roots.flatMap((each) => foldersAbove(each)), Deno.env.get("HOME") ?? "/"]
    .flatMap((each) => [...SETTINGS_FILES, ".npmrc"].map((name) => join(each, name)));
  const list = (paths: readonly string[]) => paths.map((each) => each.replaceAll(",", ",,"));
  const grants = [
    ...[`--allow-write=${list(writes)}`, `--allow-read=${list([...roots, ...writes, deno])}`],
    ...[`--allow-run=${deno}`, "--allow-env", "--deny-net", "--deny-ffi", "--deny-sys"],
  ];
  const entry = join(HOLDFAST_FOLDER, "lib/planner/make_programs.ts");
  const flags = ["--quiet", "--no-prompt", "--no-code-cache", ...fetches ? [] : ["--cached-only"]];
  return {
    args: ["run", ...flags, ...grants, entry, holdfast, place, kept],
    denoDir: fetches ? denoDir : own,
    may: wall === "deno" ? undefined : {
      network,
      reads: [...roots, ...cache.slice(1), ...settings],
      writes: [...writes, ...fetches ? cache : []],
      programs: fetches ? cache : [join(denoDir, "dl")],
    },
    signal,
  };
}
