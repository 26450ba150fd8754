/** Plans the code of a config in this process, for a command. */
import type { Config } from "../config/config.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import {
  findDenoDir,
  type ImageFolders,
  installImage,
  openImages,
} from "../supervisor/image_store.ts";
import type { PlannedConfig } from "../supervisor/read_config.ts";
import { requireReadable } from "../supervisor/require_readable.ts";
import { makeImage, type Warning } from "./make_image.ts";
import { HOLDFAST_FOLDER } from "./programs.ts";

export interface PlanOptions {
  readonly signal?: AbortSignal | undefined;
  /** The folder in which images are kept; it is made if it is not there. */
  readonly images: string;
  /** The runtime folder in use, where it is not the config's own. */
  readonly runtime?: string | undefined;
  /** Told what is no fault. */
  readonly warn?: (warning: Warning) => void;
}

/**
 * Plans it.
 *
 * @throws {HoldfastError} if a module is missing or broken, if the config is refused, or if there is no
 * room
 */
export async function planCode(
  config: Config,
  { signal, images, runtime, warn = () => {} }: PlanOptions,
): Promise<PlannedConfig> {
  const denoDir = await findDenoDir();
  using folders: ImageFolders = openImages(images, denoDir);
  const { plan, warnings } = await makeImage({
    ...{ config, images, denoDir, network: "names" },
    ...{ staging: folders.staging, compiled: folders.compiled },
    facts: {
      ...{ denoProgram: denoProgram(), holdfast: HOLDFAST_FOLDER },
      ...runtime !== undefined && { runtime },
    },
  }, signal);
  for (const each of warnings) warn(each);
  await requireReadable(config, images, signal);
  return { config, code: await installImage(config, plan, folders) };
}

/** Works with a folder for images that nothing is to run. */
export async function withImages<T>(work: (images: string) => Promise<T>): Promise<T> {
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_images_" }));
  try {
    return await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
