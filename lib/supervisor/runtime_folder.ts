/** The runtime folder: the control socket and the lock that makes a supervisor the only one. */
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { ownUid } from "../base/own_uid.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { descriptorTarget } from "../os/exec.ts";
import { identityOf } from "./listener.ts";

/** Where the control socket of a runtime folder is. */
export function controlSocketPath(folder: string): string {
  return join(folder, "control.sock");
}

/**
 * The workers' group, where it is not this process's: what they run lies in the runtime folder, so that
 * they may pass through. It is `unknown` until the config is planned.
 */
export type WorkersGroup = number | "unknown" | undefined;

/** A runtime folder in use. */
export interface RuntimeFolder {
  readonly controlSocket: string;
  readonly lockFile: string;
  /** What tells the lock file from a later one at its path. */
  readonly made: string | undefined;
  close(): void;
}

function environmentError(message: string, code: string, hint: string, cause?: unknown) {
  return new HoldfastError(message, { kind: "environment", code, hint, cause });
}

/**
 * Takes over a runtime folder from the supervisor that was here before an exec.
 *
 * @param lock holds the folder's lock, and is its own from here on
 * @throws {HoldfastError} if it is no descriptor of the folder's lock file
 */
export function adoptRuntimeFolder(folder: string, lock: number): RuntimeFolder {
  const path = join(folder, "lock");
  if (descriptorTarget(lock) !== path) {
    throw environmentError(
      `Descriptor ${lock} is not the lock ${path}`,
      "lock_lost",
      "Somebody removed or replaced it: restart Holdfast",
    );
  }
  return runtimeFolder(folder, () => closeDescriptor(lock));
}

/**
 * Takes a runtime folder into use, creating it if need be.
 *
 * The lock is the kernel's (flock(2)) and ends with the process that holds it: a socket file that
 * is left over cannot be mistaken for a supervisor that lives.
 *
 * @throws {HoldfastError} `already_running` if another supervisor holds it
 */
export async function openRuntimeFolder(
  folder: string,
  gid?: WorkersGroup,
): Promise<RuntimeFolder> {
  const path = join(folder, "lock");
  const lock = await takeLock(folder, path, gid);
  await lock.truncate();
  await lock.write(new TextEncoder().encode(`${Deno.pid}\n`));
  await removeIfThere(controlSocketPath(folder));
  return runtimeFolder(folder, () => lock.close());
}

function runtimeFolder(folder: string, unlock: () => void): RuntimeFolder {
  const path = join(folder, "lock");
  const made = identityOf(path);
  return {
    controlSocket: controlSocketPath(folder),
    lockFile: path,
    made,
    close() {
      try {
        // Somebody may have cleaned up, and another may hold one there; the lock itself is the kernel's.
        if (made !== undefined && identityOf(path) === made) Deno.removeSync(path);
      } finally {
        unlock();
      }
    },
  };
}

async function takeLock(folder: string, path: string, gid?: WorkersGroup): Promise<Deno.FsFile> {
  while (true) {
    const lock = await openLock(folder, path, gid);
    if (!await lock.tryLock(true)) {
      const pid = await readPid(lock);
      lock.close();
      throw environmentError(
        `Already running, pid ${pid}: it holds ${folder}`,
        "already_running",
        "Use holdfast reload or holdfast stop, or give this one another runtime folder",
      );
    }
    // Its last holder may have removed the file between our opening and our locking it: then this
    // is the lock of a file that the next one will not find.
    if ((await lock.stat()).ino === (await lstatIfThere(path))?.ino) return lock;
    lock.close();
  }
}

async function lstatIfThere(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function openLock(folder: string, path: string, gid?: WorkersGroup): Promise<Deno.FsFile> {
  try {
    await makePrivateFolder(folder, gid);
    // From here on nobody else can plant a link; one may lie there from before.
    if ((await lstatIfThere(path))?.isSymlink) throw new Error(`${path} is a link`);
    return await Deno.open(path, { create: true, read: true, write: true, mode: 0o600 });
  } catch (error) {
    if (error instanceof HoldfastError) throw error;
    throw environmentError(
      `Cannot use the runtime folder ${folder}: ${(error as Error).message}`,
      "runtime_folder",
      `Grant it to Holdfast with --allow-write=${folder}, or set runtime in the config to a folder ` +
        "that you may write",
      error,
    );
  }
}

/**
 * Makes a folder that is to be a runtime folder, or looks whether it may be one.
 *
 * @throws {HoldfastError} if it is another user's, or no folder
 */
export async function makePrivateFolder(folder: string, gid?: WorkersGroup): Promise<void> {
  try {
    await Deno.mkdir(folder, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  const found = await Deno.lstat(folder);
  if (!found.isDirectory || found.uid !== ownUid()) {
    throw environmentError(
      `The runtime folder ${folder} is no folder of this user`,
      "runtime_folder",
      "Remove it, or set runtime in the config to another",
    );
  }
  if (typeof gid === "number") {
    await Deno.chown(folder, null, gid);
    await Deno.chmod(folder, 0o710);
    return;
  }
  // Workers of a supervisor that was killed may still need to pass through.
  const closed = gid === "unknown" ? 0o067 : 0o077;
  if (((found.mode ?? 0) & closed) !== 0) await Deno.chmod(folder, 0o700);
}

async function readPid(lock: Deno.FsFile): Promise<string> {
  const bytes = new Uint8Array(16);
  const length = await lock.read(bytes);
  const text = new TextDecoder().decode(bytes.subarray(0, length ?? 0)).trim();
  return /^\d+$/.test(text) ? text : "unknown";
}

/** Removes what may be there. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
