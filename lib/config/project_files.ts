/** The files of a project by which Deno knows it, and which decide what code runs in it. */

/** Deno's own settings; the first that is there counts. */
export const DENO_FILES = ["deno.json", "deno.jsonc"] as const;

/** Where one of these is, a project is. */
export const PROJECT_FILES = [...DENO_FILES, "package.json"] as const;

/** What Deno looks for beside a module, and in each folder above it. */
export const SETTINGS_FILES = [...PROJECT_FILES, "deno.lock", "tsconfig.json"] as const;
