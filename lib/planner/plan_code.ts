/** Plans the code of a config in this process, for a command. */
import type { Config } from "../config/config.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import {
  codeOf,
  findDenoDir,
  type ImageFolders,
  imagesIn,
  installImage,
  modulesIn,
  openImages,
} from "../supervisor/image_store.ts";
import type { PlannedConfig } from "../supervisor/read_config.ts";
import { requireReadable } from "../supervisor/require_readable.ts";
import type { PackedImage } from "../protocol/packed_image.ts";
import { makeImage, type Warning } from "./make_image.ts";
import { readPackedImage, takeImage } from "./packed_image.ts";
import { HOLDFAST_FOLDER } from "./programs.ts";

/** What else is known of the code of a config. */
export interface ExamineOptions {
  /** The image of an executable; without one the project is looked at. */
  readonly packed?: PackedImage | undefined;
  /** Told what is no fault. */
  readonly warn?: (warning: Warning) => void;
}

export interface PlanOptions extends ExamineOptions {
  /** The folder in which images are kept; it is made if it is not there. */
  readonly images: string;
}

const facts = () => ({ denoProgram: denoProgram(), holdfast: HOLDFAST_FOLDER });

/**
 * Plans it, in a folder that nothing else is to run from.
 *
 * @throws {HoldfastError} if a module is missing or broken, if the config is refused, or if there is no
 * room
 */
export async function planCode(
  config: Config,
  { images, packed, warn = () => {} }: PlanOptions,
): Promise<PlannedConfig> {
  const denoDir = packed ? undefined : findDenoDir();
  using folders: ImageFolders = openImages(images, denoDir);
  const { staging, compiled } = folders;
  const request = { config, images, staging, compiled, facts: facts() };
  const { plan, warnings } =
    await (packed
      ? takeImage(request, packed)
      : makeImage({ ...request, denoDir: denoDir!, network: "names" }));
  for (const each of warnings) warn(each);
  await requireReadable(config, images);
  return { config, code: await installImage(config, plan, folders) };
}

/** A config that was checked, and what its code is made of. */
export interface ExaminedConfig extends PlannedConfig {
  /** Modules and packages, each with a digest. */
  readonly modules: ReadonlyMap<string, string>;
}

/**
 * Checks a config against its code, and tells where a supervisor would keep that. Nothing of it stays;
 * for an executable nothing is written.
 *
 * @throws {HoldfastError} as {@link planCode} does
 */
export async function examineCode(
  config: Config,
  { packed, warn = () => {} }: ExamineOptions,
): Promise<ExaminedConfig> {
  const kept = imagesIn(config.runtime);
  if (packed !== undefined) {
    const { plan, warnings, files } = await readPackedImage(config, packed, facts());
    for (const each of warnings) warn(each);
    const code = await codeOf(config, plan, kept, files);
    return { config, code, modules: modulesIn(files.get("modules")!) };
  }
  const images = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_images_" }));
  try {
    const denoDir = findDenoDir();
    using folders: ImageFolders = openImages(images, denoDir);
    const request = { config, images, denoDir, staging: folders.staging, facts: facts() };
    const { plan, warnings, files } = await makeImage({
      ...{ ...request, compiled: folders.compiled, network: "names", examine: true },
    });
    for (const each of warnings) warn(each);
    await requireReadable(config, images);
    const code = await codeOf(config, plan, kept, files);
    return { config, code, modules: modulesIn(files.get("modules")!) };
  } finally {
    await Deno.remove(images, { recursive: true });
  }
}
