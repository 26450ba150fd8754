/** Looks at an existing project: where its app is, and what it reads, writes and asks for. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { findApp, type FoundApp } from "./find_app.ts";
import { FOR_READING, kindOf, readSources, readText, type Source } from "./project_text.ts";
import {
  hostsIn,
  needsTemporary,
  pathsIn,
  portIn,
  variablesIn,
  withoutInner,
} from "./read_code.ts";

/** What was found of a project, and what a config for it would say. */
export interface Found extends FoundApp {
  readonly port: number;
  /** Files and folders that the code names, or that are called as such usually are. */
  readonly unveil: Readonly<Record<string, "r" | "rwc">>;
  /** Whether the code puts files into the folder for temporary ones. */
  readonly tmp: boolean;
  /** Hosts that the code asks, with their ports. */
  readonly net: readonly string[];
  /** Variables that the code reads. */
  readonly env: readonly string[];
  /** An env file that is there. */
  readonly envFile: string | undefined;
  /** What the code writes where nothing can be unveiled: beside code. */
  readonly misplaced: readonly string[];
}

const DATA_FOLDERS = ["data", "uploads", "storage", "db"];

const ENV_FILE = ".env";
/** Files that say which variables there are to be. */
const ENV_SAMPLES = [".env.example", ".env.sample", ".env.template", ".env.dist"];

const DEFAULT_PORT = 8000;

/** Looks at a project, without running anything of it. */
export function inspect(folder: string): Found {
  const sources = readSources(folder);
  const found = findApp(folder);
  const texts = sources.map(({ text }) => text);
  const [values, ...samples] = [ENV_FILE, ...ENV_SAMPLES]
    .map((name) => readText(join(folder, name)) ?? "");
  const { unveil, misplaced } = pathsIn(folder, sources, found.app);
  return {
    ...found,
    port: portOf(sources, found.app),
    unveil: withoutInner({
      ...ofFolders(folder, FOR_READING, "r"),
      ...ofFolders(folder, DATA_FOLDERS.filter((name) => !hasCode(sources, name)), "rwc"),
      ...unveil,
    }),
    tmp: needsTemporary(texts),
    net: hostsIn([...texts, values!]),
    env: variablesIn(texts, [values!, ...samples]),
    envFile: existsSync(join(folder, ENV_FILE)) ? ENV_FILE : undefined,
    misplaced,
  };
}

/** That of the app itself counts before that of other modules. */
function portOf(sources: readonly Source[], app: string | undefined): number {
  const first = sources.filter(({ path }) => path === app);
  return [...first, ...sources].map(({ text }) => portIn(text))
    .find((port) => port !== undefined) ?? DEFAULT_PORT;
}

function ofFolders<Rights>(folder: string, names: readonly string[], rights: Rights) {
  const found = names.filter((name) => kindOf(join(folder, name)) === "folder");
  return Object.fromEntries(found.map((name) => [`./${name}/`, rights]));
}

function hasCode(sources: readonly Source[], folder: string): boolean {
  return sources.some(({ path }) => path.startsWith(`${folder}/`));
}
