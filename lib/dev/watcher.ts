/** Watches folders, and tells which files have changed. */
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { Bursts } from "./bursts.ts";
import { isLookedInto } from "./watched.ts";

/** How many folders are watched at the most. */
export const MAX_FOLDERS = 4_000;

/** How long a watch goes on beside the next one. */
const OVERLAP_MS = 1_000;

/** How often folders are looked at that have moved. */
const LOOK_MS = 500;

/** How many files of a folder that is new are told. */
const MAX_NEW = 1_000;

export interface WatcherOptions {
  /** Which folders are to be watched now. */
  readonly folders: () => string[];
  /** Takes what has changed at once. */
  readonly take: (paths: ReadonlySet<string>) => void;
}

export class Watcher {
  readonly #options: WatcherOptions;
  readonly #bursts: Bursts;
  /** What each file was when it was told last: a look at one, or another mode, is no change. */
  readonly #known = new Map<string, string>();
  #folders: readonly string[] = [];
  #watch: Deno.FsWatcher | undefined;
  /**
   * Folders that were gone and are back. The runtime has one watch of the system's for a folder, whatever it
   * is called: where one has moved, the end of a watch by its other name ends that of its own, too.
   */
  readonly #moved = new Set<string>();
  #looking: ReturnType<typeof setInterval> | undefined;
  /** Those before it, and when they end. */
  readonly #ending = new Map<Deno.FsWatcher, ReturnType<typeof setTimeout>>();

  /** @throws {HoldfastError} if the system does not watch so many folders */
  constructor(options: WatcherOptions) {
    this.#options = options;
    this.#bursts = new Bursts({ take: options.take });
    this.refresh();
  }

  /** Watches the folders that there are now. */
  refresh(): void {
    const folders = this.#options.folders().filter(isFolder).sort();
    if (folders.join("\0") === this.#folders.join("\0")) return;
    const before = this.#watch;
    try {
      this.#watch = Deno.watchFs(folders, { recursive: false });
    } catch (error) {
      throw new HoldfastError(
        `Cannot watch ${folders.length} folders: ${(error as Error).message}`,
        {
          ...{ kind: "environment", code: "not_watched", cause: error },
          hint:
            "On Linux: sysctl fs.inotify.max_user_watches=524288 fs.inotify.max_user_instances=512",
        },
      );
    }
    this.#folders = folders;
    void this.#read(this.#watch);
    // What the one before has seen is still to be read. What both tell is joined.
    if (before !== undefined) {
      const timer = setTimeout(() => this.#end(before), OVERLAP_MS);
      this.#ending.set(before, timer);
    }
  }

  close(): void {
    clearInterval(this.#looking);
    this.#bursts.close();
    close(this.#watch);
    for (const watch of [...this.#ending.keys()]) this.#end(watch);
  }

  #end(watch: Deno.FsWatcher): void {
    clearTimeout(this.#ending.get(watch));
    this.#ending.delete(watch);
    close(watch);
  }

  async #read(watch: Deno.FsWatcher): Promise<void> {
    try {
      for await (const { kind, paths } of watch) {
        if (kind === "access") continue;
        for (const path of paths) this.#hear(path, kind);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted)) {
        throw error;
      }
    }
  }

  /** Looks at the files of a folder now and then. */
  #lookAt(folder: string): void {
    this.#moved.add(folder);
    this.#looking ??= setInterval(() => {
      for (const each of this.#moved) for (const file of filesIn(each)) this.#hear(file);
    }, LOOK_MS);
  }

  #hear(path: string, kind?: Deno.FsEvent["kind"]): void {
    const stamp = stampOf(path);
    if (stamp === "folder") {
      // One that is watched already may have come before that, with its files.
      if (kind === "modify" && this.#folders.includes(path)) return;
      this.refresh();
      if (this.#known.get(path) === ABSENT) this.#lookAt(path);
      for (const file of filesIn(path)) this.#hear(file);
      return;
    }
    if (this.#known.get(path) === stamp) return;
    // It may have been a folder, and come back with the same files.
    if (stamp === ABSENT) {
      for (const file of this.#known.keys()) {
        if (file.startsWith(join(path, "/"))) this.#known.delete(file);
      }
    }
    this.#known.set(path, stamp);
    this.#bursts.add(path);
  }
}

function close(watch: Deno.FsWatcher | undefined): void {
  try {
    watch?.close();
  } catch {
    // It has ended by itself.
  }
}

const ABSENT = "absent";

function stampOf(path: string): string {
  try {
    const { isDirectory, mtime, size, ino } = Deno.statSync(path);
    return isDirectory ? "folder" : `${mtime?.getTime()} ${size} ${ino}`;
  } catch {
    return ABSENT;
  }
}

function isFolder(path: string): boolean {
  return stampOf(path) === "folder";
}

/** The names of the folders in a folder. */
export function foldersIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].filter(({ isDirectory }) => isDirectory)
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

function filesIn(folder: string): string[] {
  const found: string[] = [];
  const open = [folder];
  while (open.length > 0 && found.length < MAX_NEW) {
    const next = open.shift()!;
    try {
      for (const { name, isDirectory, isFile } of Deno.readDirSync(next)) {
        if (isFile) found.push(join(next, name));
        else if (isDirectory && isLookedInto(name)) open.push(join(next, name));
      }
    } catch {
      // It is gone again.
    }
  }
  return found;
}
