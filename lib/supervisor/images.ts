/** The images of the generations that live, and of the releases that can be brought back. */
import { dirname } from "node:path";
import type { Release } from "../protocol/control.ts";
import { bestEffort } from "./best_effort.ts";
import type { Generation } from "./generation.ts";
import type { Generations } from "./generations.ts";
import { imagesIn, isFolder, openImage, pruneImages, removeStaging } from "./image_store.ts";
import type { PlannedConfig } from "./read_config.ts";
import { Releases } from "./releases.ts";
import type { RuntimeKeeper } from "./runtime_keeper.ts";
import type { System } from "./system.ts";

export interface ImagesOptions {
  readonly system: Pick<System, "ownsImages">;
  readonly runtime: Pick<RuntimeKeeper, "folder">;
  readonly generations: Pick<Generations, "all">;
  /** Whether processes of the program before this one live: nobody knows what they run. */
  readonly inherited: () => boolean;
}

export class Images {
  readonly #options: ImagesOptions;
  #releases: Releases | undefined;
  /** Every folder in which images were kept: with a release of the app it may be another one. */
  readonly #places = new Set<string>();
  #holds = 0;

  constructor(options: ImagesOptions) {
    this.#options = options;
  }

  /** To be called when the lock of the runtime folder is held. */
  open(): void {
    if (!this.#options.system.ownsImages) return;
    const images = imagesIn(this.#options.runtime.folder);
    removeStaging(images);
    this.#releases = new Releases(images);
  }

  /** Lists the releases, the newest first. */
  list(): Release[] {
    return this.#releases?.list(performance.now()) ?? [];
  }

  /** A generation serves from now on. */
  begin({ code: { folder, plan }, config }: Generation): void {
    if (!this.#options.system.ownsImages) return;
    const images = dirname(folder);
    if (this.#releases?.images !== images) this.#releases = new Releases(images);
    this.#releases.begin(plan, config, config.reload.keep, performance.now());
    this.prune();
  }

  /**
   * Opens what was served before.
   *
   * @param release its number; without one, what served before the one that serves
   * @throws {Error} if there is none
   */
  async find(release?: number): Promise<PlannedConfig> {
    const found = this.#releases?.find(release);
    if (found === undefined) {
      const known = this.list().map((each) => each.release).join(", ") || "none";
      const what = release === undefined ? "release before this one" : `release ${release}`;
      throw new Error(`There is no ${what}; those that are kept: ${known}`);
    }
    const { plan, config } = found;
    return { config, code: await openImage(config, plan, this.#releases!.images) };
  }

  /**
   * Does what makes or opens an image. Nothing is removed meanwhile: no generation runs what it makes yet,
   * of packages that nothing else may use.
   */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#holds++;
    try {
      return await work();
    } finally {
      this.#holds--;
      this.prune();
    }
  }

  /** Removes the images that nothing runs and nobody can bring back. */
  prune(): void {
    const { system, runtime, generations, inherited } = this.#options;
    if (!system.ownsImages || this.#holds > 0 || inherited()) return;
    const living = generations.all.map(({ code }) => code.folder);
    const kept = new Set([...living, ...this.#releases?.folders ?? []]);
    for (const folder of [imagesIn(runtime.folder), ...[...kept].map(dirname)]) {
      this.#places.add(folder);
    }
    for (const images of [...this.#places]) {
      // Who removes a release may be at it.
      bestEffort(`remove what is not used in ${images}`, () => pruneImages(images, kept));
      if (!isFolder(images)) this.#places.delete(images);
    }
  }

  /** The supervisor ends. */
  close(): void {
    if (this.#releases === undefined) return;
    this.#releases.close(performance.now());
    this.prune();
  }
}
