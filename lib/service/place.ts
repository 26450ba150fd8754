/** Writes and removes the files of a service, and never touches one that somebody else has written. */
import { dirname, join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { filePaths, type ServiceFile, shadowedPaths } from "./files.ts";
import { type Origin, originOf } from "./mark.ts";

/** What lies at a path; nothing if there is none. */
export async function readInstalled(
  path: string,
  root = "/",
): Promise<{ readonly text: string; readonly origin: Origin } | undefined> {
  const place = join(root, path);
  try {
    // A link leads to a file of others, or masks a unit.
    if (!(await Deno.lstat(place)).isFile) return { text: "", origin: "foreign" };
    const text = await Deno.readTextFile(place);
    return { text, origin: await originOf(text) };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    // What is no text is nobody's but its owner's.
    if (error instanceof TypeError) return { text: "", origin: "foreign" };
    throw asEnvironment(`Cannot read ${path}`, error);
  }
}

/** What became of a file. */
export interface Placed {
  readonly path: string;
  readonly what: string;
  readonly did: "written" | "unchanged" | "removed" | "kept";
}

/**
 * Writes files, none if one of them is in the way; and removes those that an earlier service of that
 * name had and this one has not.
 *
 * @throws {HoldfastError} if a file is there that this command has not written, or that was changed since
 */
export async function placeFiles(
  name: string,
  files: readonly ServiceFile[],
  root = "/",
): Promise<Placed[]> {
  const places = Object.values(filePaths(name));
  const found = new Map<string, string>();
  for (const { path } of places) {
    const installed = await readInstalled(path, root);
    if (installed === undefined) continue;
    if (installed.origin !== "ours") throw inTheWay(path, installed.origin, name);
    found.set(path, installed.text);
  }
  for (const { path } of files) await refuseShadow(path, name, root);
  const done: Placed[] = [];
  for (const { path, what } of places) {
    const file = files.find((each) => each.path === path);
    const before = found.get(path);
    if (file === undefined && before === undefined) continue;
    if (file === undefined) await removeFile(path, root);
    else if (file.text !== before) await writeFile(path, file.text, root);
    const did = file === undefined ? "removed" : file.text === before ? "unchanged" : "written";
    done.push({ path, what, did });
  }
  return done;
}

/** A file in /etc replaces the one of the system that has its name. */
async function refuseShadow(path: string, name: string, root: string): Promise<void> {
  for (const other of shadowedPaths(name)[path] ?? []) {
    if (await isAbsent(join(root, other))) continue;
    throw new HoldfastError(`${path} would replace ${other}, which is the system's`, {
      kind: "environment",
      code: "service_file",
      hint: "Take another name: --name NAME",
    });
  }
}

async function isAbsent(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return false;
  } catch {
    return true;
  }
}

/** Removes the files of a service; those that were changed, or that are others', stay. */
export async function removeFiles(name: string, root = "/"): Promise<Placed[]> {
  const done: Placed[] = [];
  for (const { path, what } of Object.values(filePaths(name))) {
    const installed = await readInstalled(path, root);
    if (installed === undefined) continue;
    if (installed.origin === "ours") await removeFile(path, root);
    done.push({ path, what, did: installed.origin === "ours" ? "removed" : "kept" });
  }
  return done;
}

/** Renamed into place: systemd must never read half of one. */
async function writeFile(path: string, text: string, root: string): Promise<void> {
  const target = join(root, path);
  const next = `${target}.holdfast-new`;
  try {
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.writeTextFile(next, text, { mode: 0o644 });
    await Deno.chmod(next, 0o644);
    await Deno.rename(next, target);
  } catch (error) {
    await Deno.remove(next).catch(() => {});
    throw asEnvironment(`Cannot write ${path}`, error);
  }
}

async function removeFile(path: string, root: string): Promise<void> {
  try {
    await Deno.remove(join(root, path));
  } catch (error) {
    throw asEnvironment(`Cannot remove ${path}`, error);
  }
}

function inTheWay(path: string, origin: Origin, name: string): HoldfastError {
  const changed = origin === "edited";
  return new HoldfastError(
    changed
      ? `${path} was changed since holdfast service install wrote it`
      : `${path} is there, and holdfast service install has not written it`,
    {
      kind: "environment",
      code: "service_file",
      hint: changed
        ? `Put your changes into a drop-in (systemctl edit ${name}), and remove the file: rm '${path}'`
        : `Take another name (--name), or remove it: rm '${path}'; --print shows what would be written`,
    },
  );
}

function asEnvironment(what: string, error: unknown): unknown {
  if (error instanceof HoldfastError || error instanceof Deno.errors.NotCapable) return error;
  return new HoldfastError(`${what}: ${(error as Error).message}`, {
    kind: "environment",
    code: "service_file",
    hint: "Run it as root; --print shows what would be written, and needs no rights",
    cause: error,
  });
}
