/** The files of a project by which Deno knows it, and which decide what code runs in it. */
import { dirname, join } from "node:path";
import { foldersAbove } from "./paths.ts";
import { unlessAbsent } from "./real_place.ts";

/** Deno's own settings; the first that is there counts. */
export const DENO_FILES = ["deno.json", "deno.jsonc"] as const;

/** Where one of these is, a project is. */
export const PROJECT_FILES = [...DENO_FILES, "package.json"] as const;

/** Finds the project of a module: the nearest folder with a file of settings, else the module's own. */
export function findProject(module: string): string {
  const isProject = (folder: string) =>
    PROJECT_FILES.some((name) => unlessAbsent(() => Deno.statSync(join(folder, name))).isFile);
  return foldersAbove(module).find(isProject) ?? dirname(module);
}

/** What Deno looks for beside a module, and in each folder above it. */
export const SETTINGS_FILES = [...PROJECT_FILES, "deno.lock", "tsconfig.json"] as const;
