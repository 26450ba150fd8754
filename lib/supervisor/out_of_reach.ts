/** What no process may be granted, whatever has checked its config. */
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { socketsOf } from "../sandbox/dialling.ts";
import { covers } from "../base/covers.ts";
import { realPlace } from "../config/real_place.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { denoProgram } from "./deno_program.ts";

/**
 * Looks once more at the paths that decide what runs with the supervisor's rights. The check of a config
 * (lib/config/check.ts), which a planner does, knows many more, and says what to do.
 *
 * @param runtimes the runtime folders: in use, and of the config
 * @throws {HoldfastError} if an unveil reaches one of them, or a Unix socket of `net` lies in one
 */
export function requireOutOfReach(config: Config, runtimes: readonly string[]): void {
  const holdfast = realPlace(HOLDFAST_FOLDER);
  const project = realPlace(config.app.project);
  // An app inside Holdfast's own repository may have a data folder.
  const inside = holdfast !== project && covers(holdfast, project);
  for (const path of [config, ...config.helpers].flatMap(({ net }) => socketsOf(net))) {
    const reached = runtimes.map(realPlace).find((place) => covers(place, realPlace(path)));
    if (reached !== undefined) {
      throw refuse(`${config.file}: unix:${path} in net lies in ${reached}`);
    }
  }
  for (const { path, rights } of [config, ...config.helpers].flatMap(({ unveil }) => unveil)) {
    const real = realPlace(path);
    const touches = (place: string) => covers(real, place) || covers(place, real);
    const reached = runtimes.map(realPlace).find(touches) ??
      (/[wc]/.test(rights)
        ? [realPlace(denoProgram())].find(touches) ??
          (touches(holdfast) && !(inside && covers(project, real)) ? holdfast : undefined)
        : undefined);
    if (reached === undefined) continue;
    throw refuse(`${config.file}: unveil of ${path} with "${rights}" reaches ${reached}`);
  }
}

function refuse(found: string): HoldfastError {
  const hint = "Leave it out, or unveil a folder further down; see holdfast check";
  return new HoldfastError(found, { kind: "config", code: "unveil_refused", hint });
}
