/** Programs that were bundled beforehand, as in an executable's image. */
import { join } from "node:path";
import { ENTRIES, HOLDFAST_FOLDER, type OwnPrograms } from "./programs.ts";

/** Where a program's text lies that was bundled beforehand, as in an executable's image. */
export function prebuiltPath(holdfast: string, entry: string): string {
  return join(holdfast, entry.replace(/\.ts$/, ".js"));
}

/** The text of a program that was bundled beforehand; a source tree has none. */
export async function readPrebuilt(entry: string, holdfast: string = HOLDFAST_FOLDER) {
  try {
    return await Deno.readTextFile(prebuiltPath(holdfast, entry));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** All of Holdfast's own programs, from the folder of a Holdfast that was bundled beforehand. */
export async function readPrograms(holdfast: string): Promise<OwnPrograms> {
  const read = async (entry: string) => {
    const text = await readPrebuilt(entry, holdfast);
    if (text !== undefined) return text;
    throw new Error(`There is no ${prebuiltPath(holdfast, entry)}`);
  };
  return {
    worker: await read(ENTRIES.worker),
    helper: await read(ENTRIES.helper),
    logger: await read(ENTRIES.logger),
    metrics: await read(ENTRIES.metrics),
    resolver: await read(ENTRIES.resolver),
    acme: await read(ENTRIES.acme),
    spawner: await read(ENTRIES.spawner),
    planner: await read(ENTRIES.planner),
  };
}
