/** The unit of systemd's that starts a config, and what service install would write now. */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import { toHoldfastError } from "../../base/error.ts";
import type { Config } from "../../config/config.ts";
import type { UnitFacts } from "../../doctor/facts.ts";
import { filePaths, serviceFiles } from "../../service/files.ts";
import { originOf } from "../../service/mark.ts";
import { readInstalled } from "../../service/place.ts";
import { unitWord } from "../../service/quote.ts";
import { planService } from "../service_plan.ts";

const UNITS = "/etc/systemd/system";

/** A unit that is installed. */
export interface InstalledUnit {
  readonly name: string;
  readonly path: string;
  readonly text: string;
  readonly user: string | undefined;
  readonly hasSocket: boolean;
}

/** The unit that names a config in its command line; nothing if there is none, or it may not be read. */
export async function findUnit({ file, named }: Config): Promise<InstalledUnit | undefined> {
  const words = [file, named].map((path) => unitWord(path.replaceAll("$", "$$$$")));
  try {
    for (const { name, isFile } of Deno.readDirSync(UNITS)) {
      if (!isFile || !name.endsWith(".service")) continue;
      const path = join(UNITS, name);
      const text = Deno.readTextFileSync(path);
      const lines = text.split("\n").filter((line) => line.startsWith("ExecStart="));
      if (!lines.some((line) => words.some((word) => line.includes(`--config ${word}`)))) continue;
      const service = basename(name, ".service");
      const socket = await readInstalled(filePaths(service).socket.path);
      const user = /^User=(.+)$/m.exec(text)?.[1];
      return { name: service, path, text, user, hasSocket: socket?.origin === "ours" };
    }
  } catch {
    // Then nobody can tell.
  }
  return undefined;
}

/** What became of it since it was written. */
export async function compareUnit(config: Config, unit: InstalledUnit): Promise<UnitFacts> {
  const { name, path, text, user, hasSocket } = unit;
  const facts = { name, path, origin: await originOf(text), differs: [], missing: [], closed: [] };
  if (facts.origin === "foreign") return facts;
  try {
    const { plan, notes } = await planService(config, { name, user, socket: hasSocket });
    const wanted = new Map((await serviceFiles(plan)).map((each) => [each.path, each.text]));
    const differs: string[] = [];
    for (const { path } of Object.values(filePaths(name))) {
      const found = await readInstalled(path);
      if (found?.text !== wanted.get(path) && found?.origin !== "edited") differs.push(path);
    }
    const missing = plan.writes.filter((each) => !existsSync(each));
    const closed = notes.flatMap((note) => {
      const [message, hint] = note.split(". Try: ");
      return hint === undefined ? [] : [{ message: message!, hint }];
    });
    return { ...facts, differs, missing, closed };
  } catch (error) {
    const { message, hint = "See holdfast service install --print" } = toHoldfastError(error);
    return { ...facts, trouble: { message, hint } };
  }
}
