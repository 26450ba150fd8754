/** The code of a generation: its modules, and where it is kept compiled, as long as it lives. */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { CodeCache } from "./code_cache.ts";
import { stampFiles } from "./file_stamp.ts";
import { allModules, type Modules } from "./prepare.ts";
import type { System } from "./system.ts";

export interface GenerationCodeOptions {
  readonly system: Pick<System, "prepareApp" | "openCodeCache">;
  readonly config: Config;
  /** The DENO_DIR of the user that runs the supervisor. */
  readonly denoDir: string;
  /** The runtime folder in use by then. */
  readonly runtime: () => string;
  /** Finds the folder in which it is kept. */
  readonly findFolder: () => Promise<string>;
  /** The code of the generation before. */
  readonly earlier: GenerationCode | undefined;
  readonly signal: AbortSignal;
}

/** What a process of it is started from. */
export interface Code {
  readonly modules: Modules;
  /** Its DENO_DIR. */
  readonly denoDir: string;
}

export class GenerationCode {
  readonly #options: GenerationCodeOptions;
  readonly #caches = new Set<CodeCache>();
  #code: Code | undefined;
  #stamp = "";
  #renewing: Promise<Code> | undefined;

  constructor(options: GenerationCodeOptions) {
    this.#options = options;
  }

  /** What the last that was prepared came to. */
  get code(): Code | undefined {
    return this.#code;
  }

  /**
   * Caches and compiles it.
   *
   * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
   */
  async prepare(): Promise<Code> {
    const { system, config, denoDir: shared, earlier, signal } = this.#options;
    const folder = await this.#options.findFolder();
    let cache: CodeCache | undefined;
    const openCache = () => {
      cache = system.openCodeCache({
        ...{ runtime: folder, shared, gid: config.account?.gid },
        earlier: (this.#code ?? earlier?.code)?.denoDir,
      });
      this.#caches.add(cache);
      return cache;
    };
    // Where nothing but Deno holds a process back it may compile what it misses.
    const modules = await system.prepareApp(config, shared, {
      signal,
      runtime: this.#options.runtime(),
      openCache: config.wall === "kernel" ? openCache : undefined,
    });
    this.#stamp = stampFiles(allModules(modules));
    return this.#code = { modules, denoDir: cache?.denoDir ?? shared };
  }

  /**
   * What a process is started from that takes another one's place. It runs the files that are there:
   * where they have changed, they are compiled for it, and the others keep what they have.
   */
  async renew(): Promise<Code> {
    const code = this.#code!;
    if (this.#options.config.wall !== "kernel") return code;
    const unchanged = stampFiles(allModules(code.modules)) === this.#stamp;
    // A folder of it that somebody removed has to be made anew.
    if (unchanged && [...this.#caches].every((cache) => cache.isThere())) return code;
    this.#renewing ??= this.prepare().finally(() => this.#renewing = undefined);
    try {
      return await this.#renewing;
    } catch (error) {
      // It may come up nevertheless, and somebody must serve.
      log.warn("code_not_renewed", { reason: (error as Error).message });
      return code;
    }
  }

  /** To be called when none of its processes lives. */
  close(): void {
    for (const cache of this.#caches) cache.remove();
    this.#caches.clear();
  }
}
