/**
 * A DENO_DIR of a generation's own. Compiled code (`gen`) is kept there by the names of its sources,
 * so that whatever compiles a newer version of a file takes the older one's code away. The runtime
 * wants it again for the first error that it shows, to say which line threw; behind the wall it can
 * compile nothing on its main thread, and ends. All else in the folder leads to the shared one.
 */
import { basename, dirname, join, relative } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import { covers } from "../config/paths.ts";
import { makeLink } from "../os/file.ts";
import { attempt } from "./attempt.ts";
import { findCaches } from "./prepare.ts";

/** What the folders of the runtime folder are called in which generations keep their code. */
const PREFIX = "deno_dir_";

/** Compiled code, in a DENO_DIR. */
const COMPILED = "gen";

/** What a probe writes to see whether there is room. */
const PROBE_BYTES = 256 * 1024;

export interface CodeCache {
  /** DENO_DIR of the processes that run it. */
  readonly denoDir: string;
  /**
   * Takes over what is compiled already.
   *
   * @param sources modules that Deno compiles
   */
  seed(sources: readonly string[]): void;
  /**
   * To be called when Deno has compiled the modules.
   *
   * @throws {HoldfastError} if the code could not be written
   */
  finish(sources: readonly string[]): void;
  /** Whether it lies where it was made. */
  isThere(): boolean;
  /** To be called when nothing runs it any more. */
  remove(): void;
}

export interface CodeCacheOptions {
  /** The runtime folder, in which it is made. */
  readonly runtime: string;
  /** The DENO_DIR to which the rest leads. */
  readonly shared: string;
  /** Another one of which the code is taken where it fits. */
  readonly earlier: string | undefined;
  /** The group of the processes that run it, where it is not this one's. */
  readonly gid: number | undefined;
}

/**
 * Makes one.
 *
 * @throws {HoldfastError} if it cannot be made
 */
export function openCodeCache({ runtime, shared, earlier, gid }: CodeCacheOptions): CodeCache {
  const denoDir = join(runtime, `${PREFIX}${crypto.randomUUID().slice(0, 8)}`);
  const take = (source: string, to: string) => {
    try {
      // Deno never writes into a file of compiled code: it renames another into its place.
      if (earlier !== undefined) return Deno.linkSync(compiledOf(source, earlier, shared), to);
    } catch {
      // The earlier one may lack it, or be the shared one.
    }
    Deno.copyFileSync(compiledOf(source, shared, shared), to);
  };
  const remove = () => {
    attempt(`remove ${denoDir}`, () => Deno.removeSync(denoDir, { recursive: true }));
  };
  try {
    makeFolder(denoDir);
    for (const path of findCaches(shared)) {
      if (basename(path) !== COMPILED) makeLink(path, join(denoDir, basename(path)));
    }
    makeFolder(join(denoDir, COMPILED));
  } catch (error) {
    if (isThere(denoDir)) remove();
    throw cannotKeep(denoDir, error as Error);
  }
  return {
    denoDir,
    isThere: () => isThere(denoDir),
    remove,
    seed: (sources) => {
      const folders = new Set<string>();
      for (const source of sources) {
        const to = compiledOf(source, denoDir, shared);
        try {
          const folder = dirname(to);
          if (!folders.has(folder)) Deno.mkdirSync(folder, { recursive: true });
          folders.add(folder);
          take(source, to);
        } catch {
          // What is missing, or is of another source, is compiled, or Deno says why it cannot be.
        }
      }
    },
    finish: (sources) => {
      // Deno says nothing of code that it could not write.
      try {
        probe(join(denoDir, "probe"));
      } catch (error) {
        throw cannotKeep(denoDir, error as Error);
      }
      const missing = sources.filter((source) => !isThere(compiledOf(source, denoDir, shared)));
      if (missing.length > 0) {
        log.warn("code_not_cached", { missing: missing.slice(0, 3), count: missing.length });
      }
      if (gid !== undefined) openUp(join(denoDir, COMPILED));
    },
  };
}

/** Removes what an earlier supervisor left; to be called when none of its processes lives. */
export function removeCodeCaches(paths: readonly string[]): void {
  for (const path of paths) {
    attempt(`remove ${path}`, () => {
      if (isThere(path)) Deno.removeSync(path, { recursive: true });
    });
  }
}

/** Those that are in a runtime folder. */
export function listCodeCaches(runtime: string): string[] {
  return Array.from(Deno.readDirSync(runtime))
    .filter(({ name, isDirectory }) => isDirectory && name.startsWith(PREFIX))
    .map(({ name }) => join(runtime, name));
}

/**
 * Where Deno keeps the code that it compiled from a file: local ones below `gen/file`, and others,
 * which lie below `remote`, by the same name.
 */
function compiledOf(source: string, denoDir: string, shared: string): string {
  const remote = join(shared, "remote");
  const name = covers(remote, source) ? relative(remote, source) : join("file", source);
  return join(denoDir, COMPILED, `${name}.js`);
}

function makeFolder(path: string): void {
  Deno.mkdirSync(path);
  Deno.chmodSync(path, 0o755);
}

/** For the processes' account, whatever mask this one has. */
function openUp(folder: string): void {
  Deno.chmodSync(folder, 0o755);
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) openUp(path);
    else Deno.chmodSync(path, 0o644);
  }
}

function probe(path: string): void {
  Deno.writeFileSync(path, new Uint8Array(PROBE_BYTES));
  Deno.removeSync(path);
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

function cannotKeep(denoDir: string, error: Error): HoldfastError {
  return new HoldfastError(`Cannot keep compiled code in ${denoDir}: ${error.message}`, {
    kind: "environment",
    code: "code_cache_failed",
    hint: "Make room there, or set runtime in the config to a folder that this user may write",
    cause: error,
  });
}
