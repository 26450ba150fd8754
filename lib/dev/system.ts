/** The effects of a supervisor in development: another runtime folder, address and worker program. */
import { resolve } from "node:path";
import { parse } from "jsonc-parser";
import { DEVELOPMENT_KEY } from "../protocol/development.ts";
import { programData } from "../protocol/program_data.ts";
import type { ReadConfig } from "../supervisor/read_config.ts";
import type { System } from "../supervisor/system.ts";
import { DEVELOPMENT_FOLDER, developmentText } from "./config_text.ts";
import { CONFIG_LINK } from "./folder.ts";
import type { DevelopmentSettings } from "./settings.ts";

/** Where a worker's inspector listens: any free port, since two generations run side by side. */
const INSPECT = "--inspect=127.0.0.1:0";

/** The effects of a system, changed for development. */
export function developmentSystem(system: System, settings: DevelopmentSettings): System {
  const { inspected, page, program } = settings;
  const { port, wall } = settings;
  const changes = { port, wall, inspected, isRoot: Deno.uid() === 0 };
  const develop = (read: ReadConfig): ReadConfig => {
    if ("config" in read) return read;
    const text = developmentText(read.text, changes);
    const raw: unknown = parse(text, [], { allowTrailingComma: true });
    return {
      ...read,
      ...{ text, raw: (raw ?? {}) as Readonly<Record<string, unknown>> },
      runtime: resolve(read.folder, DEVELOPMENT_FOLDER),
      named: resolve(read.folder, DEVELOPMENT_FOLDER, CONFIG_LINK),
    };
  };
  return {
    ...system,
    readConfig: async (file) => develop(await system.readConfig(file)),
    locateRuntime: async (file) => {
      const place = await system.locateRuntime(file);
      return { ...place, runtime: resolve(place.folder, DEVELOPMENT_FOLDER) };
    },
    loadPrograms: async (...all) => {
      const programs = await system.loadPrograms(...all);
      const worker = programData(DEVELOPMENT_KEY, page) + await Deno.readTextFile(program);
      return { ...programs, worker };
    },
    commandOf: (config, who, compartment, code) => {
      const command = system.commandOf(config, who, compartment, code);
      if (who !== "worker" && !who.startsWith("helper ")) return command;
      const isInspected = inspected && who === "worker";
      return {
        ...command,
        // Else the runtime does not say where its inspector listens.
        args: isInspected
          ? command.args.map((each) => each === "--quiet" ? INSPECT : each)
          : command.args,
        env: { ...command.env, NODE_ENV: "development" },
      };
    },
  };
}
