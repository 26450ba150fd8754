/** The private temporary folder of a process: what it adds to a grant, and how it is emptied. Pure. */
import type { Account, Compartment, Config } from "../config/config.ts";
import { TEMPORARY_VARIABLE } from "../config/temporary.ts";
import type { Walled } from "./wall.ts";

/** What a process is granted that was given a folder; the same as before where it was given none. */
export function withTemporary<Kind extends Compartment>(
  compartment: Kind,
  path: string | undefined,
): Kind {
  if (path === undefined) return compartment;
  return {
    ...compartment,
    unveil: [...compartment.unveil, ownFolder(path)],
    env: [...compartment.env, TEMPORARY_VARIABLE],
    envValues: { ...compartment.envValues, [TEMPORARY_VARIABLE]: path },
  };
}

function ownFolder(path: string) {
  return { path, rights: "rwc", exists: true, folder: true };
}

/** What a process is granted that empties one. */
export function emptyingCompartment(
  path: string,
  account: Account | undefined,
  { app, limits }: Pick<Config, "app" | "limits">,
): Walled {
  return { app, unveil: [ownFolder(path)], env: [], net: [], limits, account, empties: true };
}

/**
 * The program of such a process. It takes folders out of folders before it removes them, so that none is
 * too deep, and follows no link. What is no text has no name here, and goes with the folder that it is in.
 */
export function emptyingProgram(path: string): string {
  return `const root = ${JSON.stringify(path)};
const inside = (folder) => {
  Deno.chmodSync(folder, 0o700);
  return [...Deno.readDirSync(folder)].map((each) => ({ ...each, path: folder + "/" + each.name }));
};
for (let left = inside(root); left.length > 0; left = inside(root)) {
  for (const { path, isDirectory } of left) {
    if (!isDirectory) {
      Deno.removeSync(path);
      continue;
    }
    for (const inner of inside(path)) {
      if (!inner.isDirectory) Deno.removeSync(inner.path);
      else {
        Deno.chmodSync(inner.path, 0o700);
        Deno.renameSync(inner.path, root + "/" + crypto.randomUUID());
      }
    }
    Deno.removeSync(path, { recursive: true });
  }
}
`;
}
