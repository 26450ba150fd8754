/** What a portable executable unpacks to: the file that describes it, and where all of it lies. */
import { join } from "node:path";
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import type { PackedImage } from "../protocol/packed_image.ts";

/** The layout of what is unpacked; another number is another layout. */
export const UNPACKED_FORMAT = 2;

/** A path inside the folder. */
const Inside = z.string().check(
  z.minLength(1),
  z.maxLength(4096),
  z.refine(
    (path) => !path.startsWith("/") && !path.split("/").includes(".."),
    "expected a path inside the folder",
  ),
);

/** What `facts.json` says. */
export const UnpackedFacts = z.strictObject({
  format: z.literal(UNPACKED_FORMAT),
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
});
export type UnpackedFacts = z.infer<typeof UnpackedFacts>;

/** What was unpacked on this machine. */
export interface Unpacked {
  readonly folder: string;
  readonly facts: UnpackedFacts;
}

/** The name of the file that describes it. */
export const FACTS_FILE = "facts.json";

/** Its folders: the files of the app, its image, and Holdfast. */
export const UNPACKED_FOLDERS = { app: "app", image: "image", holdfast: "holdfast" } as const;

/** Reads what was unpacked. */
export async function readUnpacked(folder: string): Promise<Unpacked> {
  try {
    const text = await Deno.readTextFile(join(folder, FACTS_FILE));
    return { folder, facts: UnpackedFacts.parse(JSON.parse(text)) };
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

/** The image in it, of which a planner makes that of a generation. */
export function packedImageOf(
  { folder }: Unpacked,
  guarded: readonly string[],
): PackedImage {
  return {
    folder: join(folder, UNPACKED_FOLDERS.image),
    files: join(folder, UNPACKED_FOLDERS.app),
    guarded: [join(folder, FACTS_FILE), ...guarded],
  };
}
