/**
 * What the packages of the store were when they were put there. A plan and a digest name them, but are
 * not made of what is in them: so that is written down beside them, and looked at before a generation
 * takes them.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import * as z from "zod/mini";
import { log } from "../base/log.ts";
import { HoldfastError } from "../base/error.ts";
import { stampOf } from "../os/file.ts";

/** In the folder of the images. */
export const SETS_FILE = "sets.json";

/** After so many files the event loop has a turn. */
const FILES_AT_ONCE = 256;

const Hex = z.string().check(z.regex(/^[0-9a-f]{64}$/));

/** By the names of their folders: what quickly shows that nothing was touched, and what is in them. */
const Sets = z.record(z.string(), z.strictObject({ stamp: Hex, contents: Hex }));

/** Where packages lie. */
export function packagesIn(images: string, set: string): string {
  return join(images, "packages", set);
}

/** Writes down what packages are that nobody else has touched yet. */
export async function recordPackages(images: string, set: string): Promise<void> {
  const folder = packagesIn(images, set);
  const [contents, stamp] = [
    await digestTree(folder, "contents"),
    await digestTree(folder, "stamp"),
  ];
  const path = join(images, SETS_FILE);
  const kept = Object.entries(read(path)).filter(([name]) => stampOf(packagesIn(images, name)));
  const sets = { ...Object.fromEntries(kept), [set]: { stamp, contents } };
  Deno.writeTextFileSync(`${path}.new`, JSON.stringify(sets), { mode: 0o600 });
  Deno.renameSync(`${path}.new`, path);
}

/** Whether packages are what they were. Those of an earlier version of Holdfast are taken as they are. */
export async function isUntouched(images: string, set: string): Promise<boolean> {
  const known = read(join(images, SETS_FILE))[set];
  const folder = packagesIn(images, set);
  if (known !== undefined && await digestTree(folder, "stamp") === known.stamp) return true;
  // They may have been moved with the runtime folder, or come out of a backup.
  if (!await sameContents(images, set)) return false;
  await recordPackages(images, set);
  return true;
}

/** Whether what is in packages is what was written down, if anything was. */
export async function sameContents(images: string, set: string): Promise<boolean> {
  const known = read(join(images, SETS_FILE))[set];
  return known === undefined ||
    await digestTree(packagesIn(images, set), "contents") === known.contents;
}

/** What is said of packages that are to be run, and are not what they were. */
export function packagesChanged(folder: string): HoldfastError {
  return new HoldfastError(`The packages in ${folder} are not what was put there`, {
    kind: "environment",
    code: "packages_changed",
    hint: "Somebody changed them: find out who. A reload makes those of the project anew",
  });
}

function read(path: string): z.infer<typeof Sets> {
  try {
    return Sets.parse(JSON.parse(Deno.readTextFileSync(path)));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      log.warn("sets_unreadable", { file: path, reason: (error as Error).message });
    }
    return {};
  }
}

/** A digest of all names in a folder, with what the file system says of each, or with what is in it. */
async function digestTree(folder: string, of: "stamp" | "contents"): Promise<string> {
  const hash = createHash("sha256");
  let files = 0;
  const visit = async (path: string): Promise<void> => {
    const entries = [...Deno.readDirSync(path)].sort((a, b) => a.name < b.name ? -1 : 1);
    for (const { name, isDirectory, isSymlink } of entries) {
      const inner = join(path, name);
      hash.update(`${inner.length} ${inner}\0`.replace(folder, ""));
      if (of === "stamp") hash.update(stampOf(inner) ?? "");
      else if (isSymlink) hash.update(Deno.readLinkSync(inner));
      else if (!isDirectory) hash.update(await Deno.readFile(inner));
      if (++files % FILES_AT_ONCE === 0) await new Promise((resolve) => setTimeout(resolve));
      if (isDirectory) await visit(inner);
    }
  };
  await visit(folder);
  return hash.digest("hex");
}
