/**
 * The guestbook's maker of thumbnails, in a process with no permission at all and little memory, as
 * a config gives it: what strangers may send, and what comes of it.
 */
import { assert, assertEquals } from "@std/assert";
import { ColorProfile, Orientation } from "@imagemagick/magick-wasm";
import { SRGB_PROFILE } from "../examples/guestbook/helpers/srgb_profile.ts";
import { type Made, PICTURE_SIDE } from "../examples/guestbook/helpers/thumbnails_contract.ts";
import {
  ALL_KINDS,
  drawPicture,
  forgePng,
  indexOfText,
  joined,
  type Kind,
  lookAt,
  repairPng,
  repeatGifFrame,
  repeatWebPFrame,
} from "./doubles/pictures.ts";
import { pick, randomFrom } from "./doubles/random.ts";
import { NarrowThumbnails } from "./harness/narrow_thumbnails.ts";

/** `memoryBytes` of the helper in the example's config. */
const MEMORY_BYTES = 2 * 1024 ** 3;
const MEBIBYTE = 1024 ** 2;

/** What a file without any surprise may take, process and code included. */
const SMALL_PEAK_BYTES = 250 * MEBIBYTE;

function pictureOf(made: Made) {
  assert(made.outcome === "picture", JSON.stringify(made));
  return made;
}

function reasonOf(made: Made): string {
  return made.outcome === "refused" ? made.reason : made.outcome;
}

for (const kind of ALL_KINDS) {
  Deno.test(`a ${kind} becomes a picture of at most 2048 pixels and a thumbnail of 480, both JPEG`, async () => {
    await using helper = NarrowThumbnails.start(MEMORY_BYTES);
    for (
      const [size, picture, thumbnail] of [
        [{ width: 2500, height: 1250 }, { width: 2048, height: 1024 }, { width: 480, height: 240 }],
        // Nothing is made larger than it was.
        [{ width: 60, height: 600 }, { width: 60, height: 600 }, { width: 48, height: 480 }],
        [{ width: 3, height: 1 }, { width: 3, height: 1 }, { width: 3, height: 1 }],
      ] as const
    ) {
      const made = pictureOf(await helper.make(await drawPicture(kind, size)));
      for (
        const [part, expected] of [[made.picture, picture], [made.thumbnail, thumbnail]] as const
      ) {
        const seen = await lookAt(part.bytes);
        assertEquals(
          [seen.width, seen.height, seen.format, part.width, part.height],
          [expected.width, expected.height, "JPEG", expected.width, expected.height],
        );
        if (size.width < 10) continue; // Chroma of three pixels is anything.
        const middle = Math.floor(expected.height / 2);
        assertEquals(seen.colorAt(2, middle), "red");
        assertEquals(seen.colorAt(expected.width - 3, middle), "blue");
      }
    }
  });
}

for (const kind of ["jpg", "png", "webp"] as const) {
  Deno.test(`a ${kind} that a camera held sideways took stands upright`, async () => {
    await using helper = NarrowThumbnails.start(MEMORY_BYTES);
    const size = { width: 120, height: 60 };
    const upright = pictureOf(await helper.make(await drawPicture(kind, size)));
    assertEquals([upright.picture.width, upright.picture.height], [120, 60]); // control
    const sideways = { ...size, orientation: Orientation.RightTop };
    const made = pictureOf(await helper.make(await drawPicture(kind, sideways)));
    for (const { bytes } of [made.picture, made.thumbnail]) {
      const seen = await lookAt(bytes);
      assertEquals([seen.width, seen.height], [60, 120]);
      assertEquals([seen.colorAt(30, 3), seen.colorAt(30, 116)], ["red", "blue"]);
    }
  });
}

Deno.test("nothing that was written into a photo is in what comes out", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  const secret = "51.4778N-0.0014W";
  for (const kind of ALL_KINDS) {
    const photo = await drawPicture(kind, { width: 50, height: 50, secret, icc: SRGB_PROFILE });
    const hidden = joined([photo, new TextEncoder().encode(secret)]);
    assert(indexOfText(photo, secret) > 0 || kind === "gif", `the ${kind} holds no secret to find`);
    const made = pictureOf(await helper.make(hidden));
    for (const { bytes } of [made.picture, made.thumbnail]) {
      assertEquals((await lookAt(bytes)).profileNames, []);
      for (const trace of [secret, "Exif", "ICC_PROFILE", "xmp", "Photoshop", "\xff\xfe"]) {
        assertEquals(indexOfText(bytes, trace), -1, `${trace} of a ${kind}`);
      }
    }
  }
});

Deno.test("the colours of a camera are turned into those of the web, not only relabelled", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  // A profile that swaps what is red and what is blue: its columns rXYZ and bXYZ trade names.
  const swapped = SRGB_PROFILE.slice();
  const [red, blue] = [indexOfText(swapped, "rXYZ"), indexOfText(swapped, "bXYZ")];
  swapped.set(new TextEncoder().encode("bXYZ"), red);
  swapped.set(new TextEncoder().encode("rXYZ"), blue);
  assertEquals(new ColorProfile(swapped).name, "icc");
  const photo = await drawPicture("png", { width: 50, height: 50, icc: swapped });
  const made = pictureOf(await helper.make(photo));
  const seen = await lookAt(made.picture.bytes);
  assertEquals([seen.colorAt(5, 25), seen.colorAt(45, 25)], ["blue", "red"]);
});

Deno.test("what is no photo is refused before any decoder sees it", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  const texts = [
    "",
    "<svg xmlns='http://www.w3.org/2000/svg'/>",
    "%PDF-1.7",
    "push graphic-context",
  ];
  for (const text of texts) {
    assertEquals(reasonOf(await helper.make(new TextEncoder().encode(text))), "not_a_picture");
  }
  const bitmap = await drawPicture("png", { width: 5, height: 5 });
  assertEquals(reasonOf(await helper.make(bitmap)), "picture"); // control
});

Deno.test("a photo that declares too many pixels is refused by its header, at no cost", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  assertEquals(
    reasonOf(await helper.make(forgePng({ width: 6000, height: 6000 }, 6001 * 6000))),
    "picture",
  );
  const patched = await Promise.all(
    (["jpg", "webp", "avif", "gif"] as const).map(async (kind) =>
      [kind, await declareHuge(kind)] as const
    ),
  );
  const photos: (readonly [string, Uint8Array])[] = [
    ["50,000 x 50,000", forgePng({ width: 50_000, height: 50_000 }, 100)],
    [
      "30,000 x 30,000, and they are all there",
      forgePng({ width: 30_000, height: 30_000, depth: 1 }, 3751 * 30_000),
    ],
    ["6,400 x 6,400, just above 40 megapixels", forgePng({ width: 6400, height: 6400 }, 100)],
    ["one long line", forgePng({ width: 2_000_000, height: 1 }, 100)],
    ["16,385 x 1", forgePng({ width: 16_385, height: 1 }, 16_386)],
    ["2^31 - 1 on each side", forgePng({ width: 2 ** 31 - 1, height: 2 ** 31 - 1 }, 100)],
    ...patched,
  ];
  await using second = NarrowThumbnails.start(MEMORY_BYTES);
  for (const [name, photo] of photos) {
    const startMs = performance.now();
    const made = await second.make(photo);
    assertEquals(reasonOf(made), "too_many_pixels", name);
    const tookMs = performance.now() - startMs;
    assert(tookMs < 5000, `${name} took ${tookMs} ms`);
  }
  const peakBytes = second.peakBytes();
  assert(peakBytes < SMALL_PEAK_BYTES, `it took ${peakBytes} bytes`);
});

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

Deno.test("a photo whose header says less than it holds costs what the header says", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  const liar = forgePng({ width: 10, height: 10 }, 100_000_000);
  const made = await helper.make(liar);
  if (made.outcome === "picture") assertEquals([made.picture.width, made.picture.height], [10, 10]);
  const avif = await drawPicture("avif", { width: 2000, height: 2000 });
  new DataView(avif.buffer).setBigUint64(indexOfText(avif, "ispe") + 8, 0x0000_000a_0000_000an);
  const small = await helper.make(avif);
  if (small.outcome === "picture") assert(small.picture.width <= PICTURE_SIDE);
  const peakBytes = helper.peakBytes();
  assert(peakBytes < SMALL_PEAK_BYTES, `it took ${peakBytes} bytes`);
});

Deno.test("of a moving picture with hundreds of large frames, one frame is decoded", async () => {
  const size = { width: 3000, height: 3000 };
  for (
    const [name, photo] of [
      ["gif", repeatGifFrame(await drawPicture("gif", size), 200)],
      ["webp", repeatWebPFrame(await drawPicture("webp", size), size, 300)],
    ] as const
  ) {
    await using helper = NarrowThumbnails.start(MEMORY_BYTES);
    const startMs = performance.now();
    const made = pictureOf(await helper.make(photo));
    assertEquals([made.picture.width, made.picture.height], [2048, 2048], name);
    assertEquals((await lookAt(made.picture.bytes)).colorAt(2, 1000), "red");
    const [tookMs, peakBytes] = [performance.now() - startMs, helper.peakBytes()];
    assert(tookMs < 10_000, `${name} took ${tookMs} ms`);
    assert(peakBytes < 400 * MEBIBYTE, `${name} took ${peakBytes} bytes`);
  }
});

Deno.test("memory of a large photo is given back, and a thing that breaks one photo leaves the next alone", async () => {
  await using helper = NarrowThumbnails.start(900 * MEBIBYTE);
  const large = await drawPicture("avif", { width: 5000, height: 5000 });
  const small = await drawPicture("avif", { width: 500, height: 500 });
  for (let round = 0; round < 3; round++) {
    // It does not fit into this little memory, and what it took must not stay taken.
    assertEquals((await helper.make(large)).outcome, "refused");
    assertEquals((await helper.make(small)).outcome, "picture");
  }
});

Deno.test("a photo that was cut off anywhere is a picture or a refusal", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  for (const kind of ALL_KINDS) {
    const photo = await drawPicture(kind, { width: 400, height: 300, secret: "x".repeat(500) });
    const outcomes: string[] = [];
    for (let sixteenths = 0; sixteenths <= 16; sixteenths++) {
      const made = await helper.make(photo.subarray(0, photo.length * sixteenths / 16));
      outcomes.push(reasonOf(made));
    }
    assertEquals([outcomes[0], outcomes[16]], ["not_a_picture", "picture"], kind);
    assert(!outcomes.includes("too_many_pixels"), `${kind}: ${outcomes}`);
  }
});

const MUTATED_COUNT = 10_000;

Deno.test(`${MUTATED_COUNT} damaged photos are each a picture or a refusal, and the helper lives on`, async () => {
  const still = { width: 20, height: 10 };
  const moving = repeatWebPFrame(await drawPicture("webp", still), still, 3);
  const seeds: (readonly [Kind, Uint8Array])[] = [["webp", moving]];
  for (const kind of ALL_KINDS) {
    for (const size of [{ width: 17, height: 9 }, { width: 8, height: 33, secret: "secret" }]) {
      seeds.push([kind, await drawPicture(kind, { ...size, icc: SRGB_PROFILE })]);
    }
  }
  const counts = new Map<string, number>();
  // As many as the config has instances. They take turns, so that the seed decides all the same.
  const halves = [0, 1].map(async (half) => {
    await using helper = NarrowThumbnails.start(MEMORY_BYTES);
    const { pid } = helper;
    const random = randomFrom(2025 + half);
    for (let each = 0; each < MUTATED_COUNT / 2; each++) {
      const [kind, seed] = pick(random, seeds);
      const made = await helper.make(mutate(random, kind, seed));
      const key = `${kind} ${reasonOf(made)}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    // The same process as at the start, and of sound mind.
    assertEquals(helper.pid, pid);
    for (const [kind, seed] of seeds) {
      assertEquals(reasonOf(await helper.make(seed)), "picture", kind);
    }
    const peakBytes = helper.peakBytes();
    assert(peakBytes < 1024 * MEBIBYTE, `it took ${peakBytes} bytes`);
  });
  await Promise.all(halves);
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  assertEquals(total, MUTATED_COUNT);
  // Of each kind some get through and some do not, or the damage was not where decoders look.
  for (const kind of ALL_KINDS) {
    for (const outcome of ["picture", "broken"]) {
      const count = counts.get(`${kind} ${outcome}`) ?? 0;
      assert(
        count >= 50,
        `${count} of ${kind} came out as ${outcome}: ${JSON.stringify([...counts])}`,
      );
    }
  }
});

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
