/** Photos on disk: judged by their first bytes, named by us, never decoded here. */

const MEDIA_TYPES = {
  jpg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  gif: "image/gif",
  avif: "image/avif",
} as const;
export type PhotoKind = keyof typeof MEDIA_TYPES;

/** What a file input should offer. Only a hint for the browser: the server looks at the bytes. */
export const PHOTO_ACCEPT = Object.values(MEDIA_TYPES).join(",");

/** Also the guard against paths: nothing but a name that `savePhoto` made can pass. */
const PHOTO_NAME = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.(jpg|png|webp|gif|avif)$/;
const PART_SUFFIX = ".part";
const ABANDONED_AFTER_MS = 60 * 60 * 1000;

/** The kind of photo by magic bytes, or undefined for anything that is not a photo. */
export function sniffPhoto(bytes: Uint8Array): PhotoKind | undefined {
  // Latin-1 maps each byte to one character, so signatures can be compared as text.
  const head = String.fromCharCode(...bytes.subarray(0, 64));
  if (head.startsWith("\xff\xd8\xff")) return "jpg";
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "gif";
  if (head.startsWith("RIFF") && head.startsWith("WEBP", 8)) return "webp";
  if (head.startsWith("ftyp", 4) && /^(?:avif|avis)$/.test(head.slice(8, 12))) return "avif";
  return undefined;
}

/** Stores a photo and returns its name. The name appears only when the file is complete. */
export async function savePhoto(
  folder: string,
  bytes: Uint8Array,
  kind: PhotoKind,
): Promise<string> {
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

/** Removes a photo whose entry could not be stored. */
export async function removePhoto(folder: string, name: string): Promise<void> {
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
