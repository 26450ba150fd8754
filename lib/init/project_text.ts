/** The files of a project that is looked at, and nothing of it is run. */
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parse } from "jsonc-parser";
import type * as z from "zod/mini";

/** A module of a project. */
export interface Source {
  /** Relative to the project's folder. */
  readonly path: string;
  readonly text: string;
}

/** So many files of a project are looked at, of this many bytes at the most. */
const MAX_FILES = 500;
const MAX_BYTES = 256 * 1024;

/** Whether a path is of what was installed, built or is for tests. */
export function isSkipped(path: string): boolean {
  return path.split("/").some((name) => SKIPPED.includes(name));
}

/** Folders of what was installed, built or is for tests. */
const SKIPPED = ["node_modules", "dist", "build", "coverage", "test", "tests", "__tests__"];

/** What a module is called. */
export const MODULE = /^[\w./@-]+\.[cm]?[jt]sx?$/;

/** Folders of what a browser gets: what is in there, no server runs. */
export const FOR_READING = ["public", "static", "assets", "views", "templates", "locales"];
const FOR_BROWSERS = [...FOR_READING, "client", "frontend"];

/** The modules of a project that a server may run, those of the upper folders first. */
export function readSources(folder: string): Source[] {
  const found: Source[] = [];
  const folders = [folder];
  for (let place = folders.shift(); place !== undefined; place = folders.shift()) {
    for (const entry of readdirSync(place, { withFileTypes: true })) {
      const { name } = entry;
      if (name.startsWith(".") || SKIPPED.includes(name)) continue;
      const path = join(place, name);
      if (entry.isDirectory() && !FOR_BROWSERS.includes(name)) folders.push(path);
      if (entry.isDirectory() || !isSource(name)) continue;
      if (found.length >= MAX_FILES) return found;
      found.push({ path: relative(folder, path), text: readText(path) ?? "" });
    }
  }
  return found;
}

function isSource(name: string): boolean {
  return MODULE.test(name) && !/(^|[._-])(tests?|spec)\.|[._](config|d)\.|^build\./.test(name);
}

/** The text of a file, unless it is not there or too long. */
export function readText(path: string): string | undefined {
  try {
    const { size } = lstatSync(path);
    return size > MAX_BYTES ? undefined : readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** The value of a file of settings. */
export function readJson<Value>(path: string, schema: z.ZodMiniType<Value>): Value | undefined {
  const text = readText(path);
  if (text === undefined) return undefined;
  return schema.safeParse(parse(text, [], { allowTrailingComma: true })).data;
}

/** What a path is, of a project. */
export function kindOf(path: string): "file" | "folder" | undefined {
  try {
    const found = lstatSync(path);
    return found.isDirectory() ? "folder" : found.isFile() ? "file" : undefined;
  } catch {
    // It is not there, or below a file.
    return undefined;
  }
}
