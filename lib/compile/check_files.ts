/** Checks a config against its module graphs, as they are to be built into an executable. */
import { projectsOf, settingsOf } from "../config/project.ts";
import type { AppPlace, Config } from "../config/config.ts";
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
  const projects = projectsOf(config);
  const filesOfPlace = async (what: string, place: AppPlace, index: number) => {
    const { lockfile } = projects[index]!;
    return filesOf(await loadGraph({ what, place, lockfile, program }));
  };
  const app = await filesOfPlace("the app's modules", config.app, 0);
  for (const [index, { name, app: place }] of config.helpers.entries()) {
    helpers[name] = await filesOfPlace(`the modules of the helper ${name}`, place, index + 1);
  }
  requireGoodConfig(config, {
    ...{ denoDir, holdfast: HOLDFAST_FOLDER, denoProgram: program },
    settings: settingsOf(projects),
    modules: [...new Set([...app, ...Object.values(helpers).flat()])],
  });
  return { denoDir, modules: { app, helpers } };
}
