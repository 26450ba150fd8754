/** `holdfast completion`: scripts for shells, and the words that they ask for. */
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import type { CliCommand, CommandOptions } from "./command.ts";
import { bashCompletion, fishCompletion, zshCompletion } from "./completion_scripts.ts";
import { ASKED, type Asked, COMMANDS, SHELLS } from "./manual.ts";
import { printLine } from "./terminal.ts";

const SCRIPTS: Readonly<Record<typeof SHELLS[number], () => string>> = {
  bash: bashCompletion,
  zsh: zshCompletion,
  fish: fishCompletion,
};

/** Prints a script; or words for one, and nothing where they cannot be known. */
export const completion: CliCommand = async (options) => {
  const { subject } = options;
  if (isIn(SHELLS, subject)) printLine(SCRIPTS[subject]());
  else if (isIn(ASKED, subject)) {
    const words = await wordsOf(subject, options).catch(() => []);
    if (words.length > 0) printLine(words.join("\n"));
  } else {
    throw new HoldfastError(`completion is for ${SHELLS.join(", ")}`, {
      kind: "usage",
      code: "usage",
      hint: "Name the shell; see holdfast completion --help",
    });
  }
  return EXIT.ok;
};

function isIn<T extends string>(all: readonly T[], word: string | undefined): word is T {
  return (all as readonly (string | undefined)[]).includes(word);
}

async function wordsOf(asked: Asked, { config: file, system }: CommandOptions): Promise<string[]> {
  if (asked === "commands") return Object.keys(COMMANDS);
  if (asked === "attempts") {
    const { ATTEMPTS } = await import("../audit/attempts/catalogue.ts");
    return [...new Set(ATTEMPTS.flatMap(({ id }) => [id.split(".")[0]!, id]))];
  }
  if (asked === "releases") {
    const { askSupervisor } = await import("./control_client.ts");
    const { findSupervisor } = await import("./find_supervisor.ts");
    const runtime = await findSupervisor(file, system);
    const { releases } = await askSupervisor(runtime, "releases", "releases");
    return releases.map(({ release }) => String(release));
  }
  const { loadConfig } = await import("./load_config.ts");
  const { helpers, log, metrics, acme } = await loadConfig(file, system);
  const names = helpers.map(({ name }) => name);
  if (asked === "helpers") return names;
  return [
    ...["supervisor", "worker", ...names],
    ...log.folder === undefined ? [] : ["logger"],
    ...metrics === undefined ? [] : ["metrics"],
    ...acme === undefined ? [] : ["acme"],
  ];
}
