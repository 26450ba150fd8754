/** Takes Holdfast's own programs into memory. */
import { dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { BUNDLE_FAILED, digestSources, HOLDFAST_FOLDER, OwnPrograms } from "../planner/programs.ts";
import { denoProgram } from "./deno_program.ts";
import { type OwnRun, runOwn } from "./run_own.ts";

/** Of a DENO_DIR: packages, the bundler, and modules, which a link may lead to elsewhere. */
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
  const roots = [HOLDFAST_FOLDER, holdfast];
  const cache = [denoDir, ...SHARED.map((name) => join(denoDir, name))];
  const writes = [place, dirname(kept)];
  const list = (paths: readonly string[]) => paths.map((each) => each.replaceAll(",", ",,"));
  const args = [
    ...["run", "--quiet", "--no-prompt", "--no-code-cache", "--deny-net", "--deny-ffi"],
    ...[`--allow-read=${list([...roots, ...writes, deno])}`, `--allow-write=${list(writes)}`],
    ...[`--allow-run=${deno}`, "--allow-env", "--deny-sys"],
    ...[join(HOLDFAST_FOLDER, "lib/planner/make_programs.ts"), holdfast, place, kept],
  ];
  const bundle = (network: "none" | "names") => {
    const may: OwnRun["may"] = wall === "deno" ? undefined : {
      network,
      // Where the runtime finds how large its own stack is, and which registry is the user's.
      reads: [...roots, "/proc", join(Deno.env.get("HOME") ?? "/", ".npmrc")],
      writes: [place, ...cache],
      programs: network === "none" ? [join(denoDir, "dl")] : cache,
    };
    return runOwn({ args, denoDir, may, signal });
  };
  try {
    // The bundler may have to be fetched.
    const text = await bundle("none").catch((error) => {
      if (signal.aborted || error instanceof HoldfastError) throw error;
      return bundle("names");
    });
    return OwnPrograms.parse(JSON.parse(text));
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw new HoldfastError((error as Error).message, { ...BUNDLE_FAILED, cause: error });
  } finally {
    await Deno.remove(place, { recursive: true }).catch(() => {});
  }
}
