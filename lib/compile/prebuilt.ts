/** Holdfast's own programs where they were bundled before they came here. */
import { prebuiltPath, readPrebuilt } from "../planner/prebuilt.ts";
import { ENTRIES, type OwnPrograms } from "../planner/programs.ts";

/** Reads them from the folder of a Holdfast. */
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
    spawner: await read(ENTRIES.spawner),
    planner: await read(ENTRIES.planner),
  };
}
