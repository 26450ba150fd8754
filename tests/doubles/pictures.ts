/** Pictures for tests, of every kind that the guestbook takes, and such as no camera makes. */
import {
  CompositeOperator,
  Gravity,
  initializeImageMagick,
  MagickColors,
  MagickFormat,
  MagickImage,
  MagickReadSettings,
  type Orientation,
} from "@imagemagick/magick-wasm";
import { crc32, deflateSync } from "node:zlib";
import { magick } from "../../examples/guestbook/helpers/magick_module.js";

export const KINDS = {
  jpg: MagickFormat.Jpeg,
  png: MagickFormat.Png,
  webp: MagickFormat.WebP,
  gif: MagickFormat.Gif,
  avif: MagickFormat.Avif,
} as const;
export type Kind = keyof typeof KINDS;
export const ALL_KINDS = Object.keys(KINDS) as Kind[];

export interface Drawing {
  width: number;
  height: number;
  orientation?: Orientation;
  /** Written into every place for words that the format has. */
  secret?: string;
  icc?: Uint8Array;
}

/** A picture whose left half is red and whose right half is blue. */
export async function drawPicture(kind: Kind, drawing: Drawing): Promise<Uint8Array<ArrayBuffer>> {
  // The helper drops the library's instance, where a test runs it in the same process.
  await initializeImageMagick(magick);
  const { width, height, orientation = 1, secret, icc } = drawing;
  const image = MagickImage.create(MagickColors.Red, width, height);
  const half = MagickImage.create(MagickColors.Blue, Math.ceil(width / 2), height);
  image.compositeGravity(half, Gravity.East, CompositeOperator.Copy);
  image.orientation = orientation;
  if (secret !== undefined || orientation !== 1) {
    image.setProfile("exif", exif(orientation, secret ?? ""));
  }
  if (secret !== undefined) {
    image.setProfile("xmp", new TextEncoder().encode(`<x:xmpmeta>${secret}</x:xmpmeta>`));
    image.comment = secret;
    image.setAttribute("Author", secret);
  }
  if (icc !== undefined) image.setProfile("icc", icc);
  image.quality = 90;
  return image.write(KINDS[kind], (bytes) => bytes.slice() as Uint8Array<ArrayBuffer>);
}

/** Format, size and colours of a picture, as the decoder sees them. */
export async function lookAt(bytes: Uint8Array) {
  await initializeImageMagick(magick);
  const image = MagickImage.create(bytes, new MagickReadSettings());
  const { width, height, format, profileNames } = image;
  const colorAt = (x: number, y: number) =>
    image.getPixels((pixels) => {
      const [red = 0, green = 0, blue = 0] = pixels.getPixel(x, y);
      const [high, low] = [200, 60];
      if (red > high && green < low && blue < low) return "red";
      if (blue > high && green < low && red < low) return "blue";
      return red > high && green > high && blue > high ? "white" : `${red},${green},${blue}`;
    });
  return { width, height, format, profileNames, colorAt };
}

/** EXIF with an orientation and a description. */
function exif(orientation: number, description: string): Uint8Array {
  const text = new TextEncoder().encode(`${description.padEnd(8)}\0`);
  const bytes = new Uint8Array(6 + 8 + 2 + 2 * 12 + 4 + text.length);
  bytes.set(new TextEncoder().encode("Exif\0\0MM"));
  const view = new DataView(bytes.buffer, 6);
  view.setUint16(2, 42);
  view.setUint32(4, 8);
  view.setUint16(8, 2);
  const entry = (at: number, [tag, type, count]: number[], value: (at: number) => void) => {
    view.setUint16(at, tag!);
    view.setUint16(at + 2, type!);
    view.setUint32(at + 4, count!);
    value(at + 8);
  };
  entry(10, [0x010e, 2, text.length], (at) => view.setUint32(at, 38)); // ImageDescription
  entry(22, [0x0112, 3, 1], (at) => view.setUint16(at, orientation));
  bytes.set(text, 6 + 38);
  return bytes;
}

export interface PngHeader {
  width: number;
  height: number;
  /** Bits of a pixel, which is grey. */
  depth?: 1 | 8;
}

/** A PNG whose pixels are zeros, as many as given, whatever its header says. */
export function forgePng({ width, height, depth = 8 }: PngHeader, zeros: number) {
  const header = new Uint8Array(13);
  new DataView(header.buffer).setUint32(0, width);
  new DataView(header.buffer).setUint32(4, height);
  header[8] = depth;
  const data = deflateSync(new Uint8Array(zeros), { level: 9 });
  return joined([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    pngChunk("IHDR", header),
    pngChunk("IDAT", data),
    pngChunk("IEND", new Uint8Array()),
  ]);
}

/** A chunk with the right checksum. */
export function pngChunk(type: string, data: Uint8Array): Uint8Array {
  const chunk = new Uint8Array(12 + data.length);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, data.length);
  chunk.set(new TextEncoder().encode(type), 4);
  chunk.set(data, 8);
  view.setUint32(8 + data.length, crc32(chunk.subarray(4, 8 + data.length)));
  return chunk;
}

/** Puts right the checksums of a PNG that was tampered with, as far as its chunks can be followed. */
export function repairPng(png: Uint8Array): void {
  const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
  for (let at = 8; at + 12 <= png.length;) {
    const end = at + 8 + view.getUint32(at);
    if (end + 4 > png.length) return;
    view.setUint32(end, crc32(png.subarray(at + 4, end)));
    at = end + 4;
  }
}

/** Files that are small, and say that they are huge. */
export async function drawHuge(): Promise<(readonly [name: string, photo: Uint8Array])[]> {
  const patched = (["jpg", "webp", "avif", "gif"] as const).map(async (kind) =>
    [kind, await declareHuge(kind)] as const
  );
  return [
    ["50,000 x 50,000", forgePng({ width: 50_000, height: 50_000 }, 100)],
    ["6,400 x 6,400, just above 40 megapixels", forgePng({ width: 6400, height: 6400 }, 100)],
    ["one long line", forgePng({ width: 2_000_000, height: 1 }, 100)],
    ["16,385 x 1", forgePng({ width: 16_385, height: 1 }, 16_386)],
    ["2^31 - 1 on each side", forgePng({ width: 2 ** 31 - 1, height: 2 ** 31 - 1 }, 100)],
    ...await Promise.all(patched),
  ];
}

/** A small picture whose header says that it is huge. */
async function declareHuge(kind: Exclude<Kind, "png">): Promise<Uint8Array> {
  const photo = await drawPicture(kind, { width: 16, height: 16 });
  const view = new DataView(photo.buffer);
  if (kind === "jpg") {
    const frame = indexOfText(photo, "\xff\xc0");
    view.setUint32(frame + 5, 0xea60_ea60); // 60,000 lines of 60,000 pixels
  } else if (kind === "webp") {
    const frame = indexOfText(photo, "\x9d\x01\x2a");
    view.setUint32(frame + 3, 0x3fff_3fff, true); // 16,383 x 16,383
  } else if (kind === "avif") {
    const size = indexOfText(photo, "ispe") + 8;
    view.setUint32(size, 20_000);
    view.setUint32(size + 4, 20_000);
  } else {
    view.setUint32(6, 0xffff_ffff);
    const frame = indexOfText(photo, ",\0\0\0\0");
    view.setUint32(frame + 5, 0xffff_ffff);
  }
  return photo;
}

/** A GIF whose only frame comes over and over. */
export function repeatGifFrame(gif: Uint8Array, times: number): Uint8Array<ArrayBuffer> {
  const tableEntries = gif[10]! & 0x80 ? 2 << (gif[10]! & 7) : 0;
  const start = 13 + 3 * tableEntries;
  const frame = gif.subarray(start, -1);
  return joined([gif.subarray(0, start), ...Array(times).fill(frame), gif.subarray(-1)]);
}

/** An animated WebP in which the picture of a plain one comes over and over. */
export function repeatWebPFrame(
  webp: Uint8Array,
  { width, height }: { width: number; height: number },
  times: number,
): Uint8Array<ArrayBuffer> {
  const still = joined(
    riffChunks(webp).filter(({ type }) => /^VP8[L ]$/.test(type)).map((c) => c.bytes),
  );
  const size = joined([uint24(width - 1), uint24(height - 1)]);
  const frame = joined([new Uint8Array(6), size, uint24(100), Uint8Array.of(0), still]);
  const body = joined([
    riffChunk("VP8X", joined([Uint8Array.of(2, 0, 0, 0), size])),
    riffChunk("ANIM", new Uint8Array(6)),
    ...Array(times).fill(riffChunk("ANMF", frame)),
  ]);
  return riffChunk("RIFF", joined([new TextEncoder().encode("WEBP"), body]));
}

function riffChunks(webp: Uint8Array) {
  const view = new DataView(webp.buffer, webp.byteOffset, webp.byteLength);
  const chunks: { type: string; bytes: Uint8Array }[] = [];
  for (let at = 12; at + 8 <= webp.length;) {
    const size = view.getUint32(at + 4, true);
    const end = at + 8 + size + size % 2;
    chunks.push({
      type: new TextDecoder().decode(webp.subarray(at, at + 4)),
      bytes: webp.subarray(at, end),
    });
    at = end;
  }
  return chunks;
}

function riffChunk(type: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = new Uint8Array(4);
  new DataView(size.buffer).setUint32(0, data.length, true);
  return joined([new TextEncoder().encode(type), size, data, new Uint8Array(data.length % 2)]);
}

function uint24(value: number): Uint8Array {
  return Uint8Array.of(value & 0xff, value >> 8 & 0xff, value >> 16);
}

/** One after the other. */
export function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Where a text stands in bytes, or -1. */
export function indexOfText(bytes: Uint8Array, text: string): number {
  return new TextDecoder("latin1").decode(bytes).indexOf(text);
}
