/** Keeps the runtime folder out of version control: it brings its own `.gitignore`. */
import { basename, join } from "node:path";
import { DEFAULT_RUNTIME } from "../config/runtime_place.ts";
import type { System } from "../supervisor/system.ts";

/** The effects of a supervisor whose runtime folder git does not see, where it has its usual name. */
export function ignoredRuntime(system: System): System {
  return {
    ...system,
    openRuntimeFolder: async (folder, gid) => {
      const opened = await system.openRuntimeFolder(folder, gid);
      if (basename(folder) === basename(DEFAULT_RUNTIME)) writeIgnore(folder);
      return opened;
    },
  };
}

function writeIgnore(folder: string): void {
  try {
    Deno.writeTextFileSync(join(folder, ".gitignore"), "*\n", { createNew: true });
  } catch {
    // It is there, or git sees the folder.
  }
}
