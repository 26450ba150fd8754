/** Photos that are damaged where decoders look, and what a maker of thumbnails makes of them. */
import { assertEquals } from "@std/assert";
import { SRGB_PROFILE } from "../../examples/guestbook/helpers/srgb_profile.ts";
import { NarrowThumbnails, reasonOf } from "../harness/narrow_thumbnails.ts";
import {
  ALL_KINDS,
  drawPicture,
  joined,
  type Kind,
  repairPng,
  repeatWebPFrame,
} from "./pictures.ts";
import { pick, randomFrom } from "./random.ts";

/** An undamaged photo, and its kind. */
export type Seed = readonly [kind: Kind, photo: Uint8Array];

/** Small photos of every kind, one that moves among them. */
export async function drawSeeds(): Promise<Seed[]> {
  const still = { width: 20, height: 10 };
  const moving = repeatWebPFrame(await drawPicture("webp", still), still, 3);
  const seeds: Seed[] = [["webp", moving]];
  for (const kind of ALL_KINDS) {
    for (const size of [{ width: 17, height: 9 }, { width: 8, height: 33, secret: "secret" }]) {
      seeds.push([kind, await drawPicture(kind, { ...size, icc: SRGB_PROFILE })]);
    }
  }
  return seeds;
}

/**
 * Has a helper make pictures of `count` damaged photos, and sees that it is of sound mind after that.
 *
 * @returns how many of each kind came out as what
 */
export async function makeDamaged(
  helper: NarrowThumbnails,
  seeds: readonly Seed[],
  count: number,
  chance: number,
): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  const random = randomFrom(chance);
  for (let each = 0; each < count; each++) {
    const [kind, seed] = pick(random, seeds);
    const made = await helper.make(mutate(random, kind, seed));
    const key = `${kind} ${reasonOf(made)}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  for (const [kind, seed] of seeds) {
    assertEquals(reasonOf(await helper.make(seed)), "picture", kind);
  }
  return counts;
}

/** Numbers at which lengths and sizes turn over. */
const EDGES = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

/** Damages a photo in one to four places. */
function mutate(random: () => number, kind: Kind, seed: Uint8Array): Uint8Array {
  let photo = seed.slice();
  const below = (limit: number) => Math.floor(random() * limit);
  const places = 1 + below(4);
  for (let place = 0; place < places && photo.length > 16; place++) {
    const at = below(photo.length - 8);
    switch (below(6)) {
      case 0:
        photo[at] = photo[at]! ^ 1 << below(8);
        break;
      case 1:
        photo[at] = below(256);
        break;
      case 2:
        new DataView(photo.buffer).setUint32(at, pick(random, EDGES), pick(random, [true, false]));
        break;
      case 3:
        photo = joined([photo.subarray(0, at), photo.subarray(at + 1 + below(8))]);
        break;
      case 4: {
        const from = below(photo.length);
        const piece = photo.slice(from, from + 1 + below(16));
        photo = joined([photo.subarray(0, at), piece, photo.subarray(at)]);
        break;
      }
      default:
        photo.copyWithin(at, below(photo.length), below(photo.length));
    }
  }
  // Else the checksum of the first chunk would be all that is ever tested.
  if (kind === "png" && random() < 0.8) repairPng(photo);
  // Most keep the first bytes, or nothing would get past the first look.
  if (random() < 0.95) photo.set(seed.subarray(0, 12));
  return photo;
}
