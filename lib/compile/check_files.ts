/** Checks a config against its module graphs, as they are to be built into an executable. */
import { settingsOf } from "../config/project.ts";
import type { Config } from "../config/config.ts";
import { filesOf, loadGraph } from "../planner/graph.ts";
import { requireGoodConfig } from "../planner/make_image.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { findDenoDir } from "../supervisor/image_store.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import type { Modules } from "../supervisor/file_code.ts";

/**
 * Fetches and compiles the modules.
 *
 * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
 */
export async function checkFiles(config: Config): Promise<{ denoDir: string; modules: Modules }> {
  const denoDir = await findDenoDir();
  const program = denoProgram();
  const helpers: Record<string, string[]> = {};
  const app = filesOf(await loadGraph({ what: "the app's modules", place: config.app, program }));
  for (const { name, app: place } of config.helpers) {
    const what = `the modules of the helper ${name}`;
    helpers[name] = filesOf(await loadGraph({ what, place, program }));
  }
  requireGoodConfig(config, {
    ...{ denoDir, holdfast: HOLDFAST_FOLDER, denoProgram: program },
    settings: settingsOf(config),
    modules: [...new Set([...app, ...Object.values(helpers).flat()])],
  });
  return { denoDir, modules: { app, helpers } };
}
