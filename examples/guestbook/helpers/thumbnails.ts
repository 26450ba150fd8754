/**
 * Makes clean pictures of uploaded photos: what goes out is encoded here, from pixels, and holds
 * nothing else of what came in. Decoders are where the bugs are, so this runs in a process that may
 * read no file, open no connection and see no variable, and in it ImageMagick runs as WebAssembly,
 * with a blank memory for each photo: what one photo breaks, the next one does not meet.
 */
import {
  AlphaAction,
  ColorProfile,
  ColorSpace,
  FilterType,
  type IMagickImage,
  MagickColors,
  MagickError,
  MagickFormat,
  MagickGeometry,
  MagickImage,
  MagickImageInfo,
  MagickReadSettings,
} from "@imagemagick/magick-wasm";
import { defineHelper } from "holdfast/helper";
import { type PhotoKind, sniffPhoto } from "../photo_kind.ts";
import { MAX_PIXELS, MAX_SIDE, startBlankMagick } from "./blank_magick.ts";
import { SRGB_PROFILE } from "./srgb_profile.ts";
import {
  type Made,
  PICTURE_SIDE,
  type RefusalReason,
  THUMBNAIL_SIDE,
  thumbnailsContract,
} from "./thumbnails_contract.ts";
import { firstFrameOf } from "./webp_frame.ts";

const FORMATS: Record<PhotoKind, MagickFormat> = {
  jpg: MagickFormat.Jpeg,
  png: MagickFormat.Png,
  webp: MagickFormat.WebP,
  gif: MagickFormat.Gif,
  avif: MagickFormat.Avif,
};
const JPEG_QUALITY = 82;

export default defineHelper({
  make: {
    ...thumbnailsContract.make,
    retry: "safe",
    handle: ({ photo }, { signal }) =>
      oneByOne(() => {
        // A caller that waited behind others may have cancelled.
        signal.throwIfAborted();
        return makePictures(photo);
      }),
  },
});

let last: Promise<unknown> = Promise.resolve();

/** The library has one instance at a time, so calls wait for each other. */
function oneByOne<T>(job: () => Promise<T>): Promise<T> {
  const own = last.then(job);
  last = own.catch(() => {});
  return own;
}

async function makePictures(photo: Uint8Array<ArrayBuffer>): Promise<Made> {
  const kind = sniffPhoto(photo);
  if (kind === undefined) return refuse("not_a_picture");
  using _magick = await startBlankMagick();
  try {
    return decode(kind === "webp" ? firstFrameOf(photo) : photo, kind);
  } catch (error) {
    // Whatever it is, traps of WebAssembly included: the photo is the only input there was.
    return refuse(isAboutSize(error) ? "too_many_pixels" : "broken");
  }
}

function decode(photo: Uint8Array<ArrayBuffer>, kind: PhotoKind): Made {
  const settings = new MagickReadSettings({
    // What the first bytes say, and no guessing: ImageMagick knows a hundred formats more.
    format: FORMATS[kind],
    // Of a moving GIF the first frame, and the others are not decoded.
    frameIndex: 0,
    frameCount: 1,
  });
  // This reads the header, and no pixel.
  const { width, height } = MagickImageInfo.create(photo, settings);
  if (width * height > MAX_PIXELS || Math.max(width, height) > MAX_SIDE) {
    return refuse("too_many_pixels");
  }
  // The decoder of JPEG can leave out what a smaller picture does not show; it also enlarges.
  if (Math.max(width, height) > PICTURE_SIDE) {
    settings.setDefine(MagickFormat.Jpeg, "size", `${PICTURE_SIDE}x${PICTURE_SIDE}`);
  }
  const image = MagickImage.create(photo, settings);
  shrink(image, PICTURE_SIDE);
  image.autoOrient();
  toWebColors(image);
  image.backgroundColor = MagickColors.White;
  image.alpha(AlphaAction.Remove);
  image.resetPage();
  image.strip();
  image.quality = JPEG_QUALITY;
  const picture = encode(image);
  shrink(image, THUMBNAIL_SIDE);
  return { outcome: "picture", picture, thumbnail: encode(image) };
}

function shrink(image: IMagickImage, side: number): void {
  if (Math.max(image.width, image.height) <= side) return;
  image.resize(new MagickGeometry(side, side), FilterType.Triangle);
}

/** Cameras have their own colour profiles; once the profile is gone, browsers take them for sRGB. */
function toWebColors(image: IMagickImage): void {
  if (image.hasProfile("icc")) image.transformColorSpace(new ColorProfile(SRGB_PROFILE));
  else if (image.colorSpace === ColorSpace.CMYK) image.colorSpace = ColorSpace.sRGB;
}

function encode(image: IMagickImage) {
  const { width, height } = image;
  // The bytes lie in the instance's memory, which does not outlive the call.
  return image.write(MagickFormat.Jpeg, (bytes) => ({ bytes: bytes.slice(), width, height }));
}

/** Told only in words, as is the lack of memory. Where they change, such a photo counts as broken. */
function isAboutSize(error: unknown): boolean {
  if (!(error instanceof MagickError)) return false;
  return [error, ...error.relatedErrors].some(({ message }) =>
    /exceeds .*limit|alloc|exhausted/i.test(message)
  );
}

function refuse(reason: RefusalReason): Made {
  return { outcome: "refused", reason };
}
