/**
 * The guestbook's maker of thumbnails, in a process with no permission at all and little memory, as
 * a config gives it: what strangers may send, and what comes of it.
 */
import { assert, assertEquals } from "@std/assert";
import { ColorProfile, Orientation } from "@imagemagick/magick-wasm";
import { SRGB_PROFILE } from "../examples/guestbook/helpers/srgb_profile.ts";
import { drawSeeds, makeDamaged } from "./doubles/damaged_photos.ts";
import {
  ALL_KINDS,
  drawHuge,
  drawPicture,
  indexOfText,
  joined,
  lookAt,
} from "./doubles/pictures.ts";
import { NarrowThumbnails, pictureOf, reasonOf } from "./harness/narrow_thumbnails.ts";

/** `memoryBytes` of the helper in the example's config. */
const MEMORY_BYTES = 1_610_612_736;

Deno.test("a process that may do nothing makes thumbnails of strangers' photos", async (t) => {
  await using helper = NarrowThumbnails.start(MEMORY_BYTES);
  await t.step(
    "each kind becomes a picture of at most 2048 pixels and a thumbnail of 480, both JPEG",
    async () => {
      for (const kind of ALL_KINDS) {
        for (
          const [size, picture, thumbnail] of [
            [{ width: 2560, height: 80 }, { width: 2048, height: 64 }, { width: 480, height: 15 }],
            // Nothing is made larger than it was.
            [{ width: 60, height: 600 }, { width: 60, height: 600 }, { width: 48, height: 480 }],
            [{ width: 3, height: 1 }, { width: 3, height: 1 }, { width: 3, height: 1 }],
          ] as const
        ) {
          const made = pictureOf(await helper.make(await drawPicture(kind, size)));
          for (
            const [part, expected] of [[made.picture, picture], [
              made.thumbnail,
              thumbnail,
            ]] as const
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
      }
    },
  );

  await t.step("a photo that a camera held sideways took stands upright", async () => {
    const size = { width: 120, height: 60 };
    for (const kind of ["jpg", "png", "webp"] as const) {
      const upright = pictureOf(await helper.make(await drawPicture(kind, size)));
      assertEquals([upright.picture.width, upright.picture.height], [120, 60]); // control
      const sideways = { ...size, orientation: Orientation.RightTop };
      const made = pictureOf(await helper.make(await drawPicture(kind, sideways)));
      for (const { bytes } of [made.picture, made.thumbnail]) {
        const seen = await lookAt(bytes);
        assertEquals([seen.width, seen.height], [60, 120], kind);
        assertEquals([seen.colorAt(30, 3), seen.colorAt(30, 116)], ["red", "blue"], kind);
      }
    }
  });

  await t.step("nothing that was written into a photo is in what comes out", async () => {
    const secret = "51.4778N-0.0014W";
    for (const kind of ALL_KINDS) {
      const photo = await drawPicture(kind, { width: 50, height: 50, secret, icc: SRGB_PROFILE });
      const hidden = joined([photo, new TextEncoder().encode(secret)]);
      assert(
        indexOfText(photo, secret) > 0 || kind === "gif",
        `the ${kind} holds no secret to find`,
      );
      const made = pictureOf(await helper.make(hidden));
      for (const { bytes } of [made.picture, made.thumbnail]) {
        assertEquals((await lookAt(bytes)).profileNames, []);
        for (const trace of [secret, "Exif", "ICC_PROFILE", "xmp", "Photoshop", "\xff\xfe"]) {
          assertEquals(indexOfText(bytes, trace), -1, `${trace} of a ${kind}`);
        }
      }
    }
  });

  await t.step(
    "the colours of a camera are turned into those of the web, not only relabelled",
    async () => {
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
    },
  );

  await t.step("what is no photo is refused before any decoder sees it", async () => {
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

  await t.step("a photo that declares too many pixels is refused by its header", async () => {
    for (const [name, photo] of await drawHuge()) {
      assertEquals(reasonOf(await helper.make(photo)), "too_many_pixels", name);
    }
  });

  await t.step("damaged photos are each a picture or a refusal", async () => {
    const counts = await makeDamaged(helper, await drawSeeds(), 100, 2025);
    const outcomes = new Set([...counts.keys()].map((key) => key.split(" ")[1]));
    assert(outcomes.has("picture") && outcomes.has("broken"), JSON.stringify([...counts]));
  });
});
