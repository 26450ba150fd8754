/** Photos on disk: named by us, never decoded here. */
import type { Made } from "./helpers/thumbnails_contract.ts";
import { MEDIA_TYPES, type PhotoKind, sniffPhoto } from "./photo_kind.ts";

/** What the helper made of a photo that it could read. */
export type MadePhoto = Extract<Made, { outcome: "picture" }>;

/** Also the guard against paths: nothing but a name that `savePhoto` made can pass. */
const PHOTO_NAME = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(jpg|png|webp|gif|avif)$/;
const PART_SUFFIX = ".part";
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/** The files of one entry, by name. */
export interface StoredPhoto {
  photo: string;
  thumbnail: string;
}

/**
 * Stores what the helper made of a photo.
 *
 * @throws {Error} if it made anything but JPEGs: what it says is no more to be trusted than photos
 */
export async function savePhoto(folder: string, made: MadePhoto): Promise<StoredPhoto> {
  const photo = await saveJpeg(folder, made.picture.bytes);
  try {
    return { photo, thumbnail: await saveJpeg(folder, made.thumbnail.bytes) };
  } catch (error) {
    await removeFile(folder, photo);
    throw error;
  }
}

/** The name appears only when the file is complete. */
async function saveJpeg(folder: string, bytes: Uint8Array): Promise<string> {
  const kind = sniffPhoto(bytes);
  if (kind !== "jpg") {
    throw new Error(`Cannot store a picture: expected a JPEG of the helper, got ${kind}`);
  }
  const id = crypto.randomUUID();
  const part = `${folder}/${id}${PART_SUFFIX}`;
  const name = `${id}.${kind}`;
  try {
    await Deno.writeFile(part, bytes, { createNew: true });
    await Deno.rename(part, `${folder}/${name}`);
  } catch (error) {
    await Deno.remove(part).catch(() => {}); // The first error is the one to tell.
    throw error;
  }
  return name;
}

/** Removes the files of an entry that could not be stored. */
export async function removePhoto(folder: string, stored: StoredPhoto): Promise<void> {
  await removeFile(folder, stored.photo);
  await removeFile(folder, stored.thumbnail);
}

async function removeFile(folder: string, name: string): Promise<void> {
  await Deno.remove(`${folder}/${name}`).catch(() => {});
}

export interface OpenPhoto {
  file: Deno.FsFile;
  sizeBytes: number;
  mediaType: string;
}

/** Opens a stored photo, or returns undefined when the name is not one of ours. */
export async function openPhoto(folder: string, name: string): Promise<OpenPhoto | undefined> {
  const kind = PHOTO_NAME.exec(name)?.[1] as PhotoKind | undefined;
  if (kind === undefined) return undefined;
  try {
    const file = await Deno.open(`${folder}/${name}`);
    const { size } = await file.stat();
    return { file, sizeBytes: size, mediaType: MEDIA_TYPES[kind] };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Removes half-written photos that a killed process left behind. */
export async function sweepParts(folder: string, nowMs: number): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.endsWith(PART_SUFFIX)) continue;
    const path = `${folder}/${name}`;
    // The other generation may be writing a young one at this moment, or sweep it before us.
    const info = await Deno.lstat(path).catch(() => undefined);
    if (nowMs - (info?.mtime?.getTime() ?? nowMs) < ABANDONED_AFTER_MS) continue;
    await Deno.remove(path).catch(() => {});
  }
}
