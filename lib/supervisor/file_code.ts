/** The code of an executable, which lies in files that come with it. */
import type { Config, Project } from "../config/config.ts";
import { type Code, fileCode } from "../sandbox/process_code.ts";

/** The local files of the module graphs of a config. */
export interface Modules {
  readonly app: readonly string[];
  /** By the names of the helpers. */
  readonly helpers: Readonly<Record<string, readonly string[]>>;
}

/** The code of the processes of a config. */
export function codeOfFiles(
  { app, helpers }: Config,
  { modules, projects: [own, ...others], ...place }: {
    readonly denoDir: string;
    readonly caches: readonly string[];
    readonly modules: Modules;
    /** Of the app, then of each helper. */
    readonly projects: readonly Project[];
  },
): Code {
  return {
    folder: undefined,
    processes: {
      worker: fileCode(app, own!, { ...place, modules: modules.app }),
      ...Object.fromEntries(
        helpers.map(({ name, app }, index) => [
          `helper ${name}`,
          fileCode(app, others[index]!, { ...place, modules: modules.helpers[name]! }),
        ]),
      ),
    },
  };
}
