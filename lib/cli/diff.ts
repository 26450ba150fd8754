/** Shows what a reload would change: modules, packages, and what the config grants. */
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { policyOf } from "../config/policy_lines.ts";
import { lastRelease } from "../planner/judge_widening.ts";
import { examineCode } from "../planner/plan_code.ts";
import { imagesIn, modulesOf } from "../supervisor/image_store.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import type { CliCommand } from "./command.ts";
import { loadConfig } from "./load_config.ts";
import { printLine } from "./terminal.ts";

/** Lines that begin with +, - or ~. */
interface Changes {
  readonly modules: readonly string[];
  readonly policy: readonly string[];
}

export const diff: CliCommand = async ({ config: file, json, system }) => {
  const config = await loadConfig(file, system);
  const images = imagesIn(config.runtime);
  const last = lastRelease(images);
  if (last === undefined) {
    throw new HoldfastError(`Nothing has served yet from ${config.runtime}, or it cannot be read`, {
      kind: "not_running",
      code: "no_release",
      hint: "Start it first, and ask as the same user",
    });
  }
  let modules: ReadonlyMap<string, string> = new Map();
  await system.planCode(knownConfig(config), async (packed) => {
    const examined = await examineCode(config, { packed });
    modules = examined.modules;
    return examined;
  });
  const name = (url: string) =>
    url.startsWith("file:") ? relative(config.folder, fileURLToPath(url)) : url;
  const changes: Changes = {
    modules: changesOf(modulesOf(images, last.plan), modules).map((line) =>
      `${line.slice(0, 2)}${name(line.slice(2))}`
    ),
    policy: changesOf(policyOf(last.config), policyOf(config), false),
  };
  if (json) printLine(JSON.stringify({ release: last.release, ...changes }));
  else printLine(format(last.release, changes));
  return EXIT.ok;
};

/** What differs between two tables, by their keys. */
function changesOf<Value>(
  before: ReadonlyMap<string, Value>,
  after: ReadonlyMap<string, Value>,
  hasValues = true,
): string[] {
  const both = [...new Set([...before.keys(), ...after.keys()])].sort();
  return both.flatMap((key) => {
    if (!before.has(key)) return `+ ${key}`;
    if (!after.has(key)) return `- ${key}`;
    return hasValues && before.get(key) !== after.get(key) ? `~ ${key}` : [];
  });
}

function format(release: number, { modules, policy }: Changes): string {
  if (modules.length + policy.length === 0) return `As release ${release}: nothing has changed`;
  const part = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];
  return [
    `Against release ${release}:`,
    ...part("Modules and packages", modules),
    ...part("What the config grants", policy),
  ].join("\n");
}
