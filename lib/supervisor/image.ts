/** An image: what a portable executable unpacks to. The file that describes it, and where all of it lies. */
import { join } from "node:path";
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import type { Modules } from "./file_code.ts";

/** The layout of an image; another number is another layout. */
export const IMAGE_FORMAT = 1;

/** A path inside the image. */
const Inside = z.string().check(
  z.minLength(1),
  z.maxLength(4096),
  z.refine(
    (path) => !path.startsWith("/") && !path.split("/").includes(".."),
    "expected a path inside the image",
  ),
);

/** What `image.json` says. */
export const ImageFacts = z.strictObject({
  format: z.literal(IMAGE_FORMAT),
  name: z.string().check(z.regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/)),
  versions: z.strictObject({
    /** The app's own, of its deno.json or package.json. */
    app: z.nullable(z.string().check(z.maxLength(64))),
    holdfast: z.string().check(z.maxLength(64)),
    deno: z.string().check(z.maxLength(64)),
  }),
  /** Of the messages between supervisor and worker. */
  protocol: z.int().check(z.minimum(1)),
  /** SHA-256 of the deno program, in hex. */
  program: z.string().check(z.regex(/^[0-9a-f]{64}$/)),
  config: Inside,
  modules: z.strictObject({
    app: z.array(Inside).check(z.maxLength(100_000)),
    helpers: z.record(z.string(), z.array(Inside).check(z.maxLength(100_000))),
  }),
});
export type ImageFacts = z.infer<typeof ImageFacts>;

/** An image on this machine. */
export interface Image {
  readonly folder: string;
  readonly facts: ImageFacts;
}

/** The name of the file that describes an image. */
export const IMAGE_FILE = "image.json";

/** The folders of an image. */
export const IMAGE_FOLDERS = { app: "app", denoDir: "deno_dir", holdfast: "holdfast" } as const;

/** Reads what an image is. */
export async function readImage(folder: string): Promise<Image> {
  try {
    const text = await Deno.readTextFile(join(folder, IMAGE_FILE));
    return { folder, facts: ImageFacts.parse(JSON.parse(text)) };
  } catch (error) {
    const found = error instanceof z.core.$ZodError
      ? z.prettifyError(error)
      : (error as Error).message;
    throw new HoldfastError(`Cannot read what ${folder} is: ${found}`, {
      kind: "environment",
      code: "image_unreadable",
      hint:
        "It was made by another version of Holdfast, or changed: remove that folder, or restart " +
        "the program",
      cause: error,
    });
  }
}

/** The local files of an image's module graphs. */
export function imageModules({ folder, facts }: Image): Modules {
  const placed = (paths: readonly string[]) => paths.map((path) => join(folder, path));
  return {
    app: placed(facts.modules.app),
    helpers: Object.fromEntries(
      Object.entries(facts.modules.helpers).map(([name, paths]) => [name, placed(paths)]),
    ),
  };
}
