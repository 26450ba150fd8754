/** Which kinds of photos there are, by their first bytes. */

export const MEDIA_TYPES = {
  jpg: "image/jpeg",
  png: "image/png",
  webp: "image/webp",
  gif: "image/gif",
  avif: "image/avif",
} as const;
export type PhotoKind = keyof typeof MEDIA_TYPES;

/** What a file input should offer. Only a hint for the browser: the server looks at the bytes. */
export const PHOTO_ACCEPT = Object.values(MEDIA_TYPES).join(",");

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
