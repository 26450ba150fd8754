/**
 * The guestbook's maker of thumbnails with photos that cost something, and with thousands of damaged
 * ones, in a process with no permission at all and little memory.
 */
import { assert, assertEquals } from "@std/assert";
import { PICTURE_SIDE } from "../../examples/guestbook/helpers/thumbnails_contract.ts";
import { drawSeeds, makeDamaged } from "../doubles/damaged_photos.ts";
import {
  ALL_KINDS,
  drawHuge,
  drawPicture,
  forgePng,
  indexOfText,
  lookAt,
  repeatGifFrame,
  repeatWebPFrame,
} from "../doubles/pictures.ts";
import { NarrowThumbnails, pictureOf, reasonOf } from "../harness/narrow_thumbnails.ts";

/** `memoryBytes` of the helper in the example's config. */
const MEMORY_BYTES = 1_610_612_736;
const MEBIBYTE = 1024 ** 2;

/** What a file without any surprise may take, process and code included. */
const SMALL_PEAK_BYTES = 250 * MEBIBYTE;

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

Deno.test("a photo that declares too many pixels is refused by its header, at no cost", async () => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  assertEquals(
    reasonOf(await helper.make(forgePng({ width: 6000, height: 6000 }, 6001 * 6000))),
    "picture",
  );
  const photos: (readonly [string, Uint8Array])[] = [
    ...await drawHuge(),
    [
      "30,000 x 30,000, and they are all there",
      forgePng({ width: 30_000, height: 30_000, depth: 1 }, 3751 * 30_000),
    ],
  ];
  await using second = NarrowThumbnails.start(MEMORY_BYTES);
  for (const [name, photo] of photos) {
    const before = second.processorSeconds();
    const made = await second.make(photo);
    assertEquals(reasonOf(made), "too_many_pixels", name);
    const took = second.processorSeconds() - before;
    assert(took < 5, `${name} took ${took} s`);
  }
  const peakBytes = second.peakBytes();
  assert(peakBytes < SMALL_PEAK_BYTES, `it took ${peakBytes} bytes`);
});

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
    const made = pictureOf(await helper.make(photo));
    assertEquals([made.picture.width, made.picture.height], [2048, 2048], name);
    assertEquals((await lookAt(made.picture.bytes)).colorAt(2, 1000), "red");
    const [took, peakBytes] = [helper.processorSeconds(), helper.peakBytes()];
    assert(took < 10, `${name} took ${took} s`);
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
  const seeds = await drawSeeds();
  const counts = new Map<string, number>();
  // As many as the config has instances. They take turns, so that the seed decides all the same.
  const halves = [0, 1].map(async (half) => {
    await using helper = NarrowThumbnails.start(MEMORY_BYTES);
    const found = await makeDamaged(helper, seeds, MUTATED_COUNT / 2, 2025 + half);
    for (const [key, count] of found) counts.set(key, (counts.get(key) ?? 0) + count);
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
