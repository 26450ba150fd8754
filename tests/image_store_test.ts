/** The folders that planners work in. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { canOpen } from "../lib/os/file.ts";
import { openImages } from "../lib/supervisor/image_store.ts";

// The C library is loaded by the first call and stays, which is no leak of a test.
canOpen("/");

Deno.test("a start from source takes the place that an executable has used, and back", async () => {
  const root = await Deno.makeTempDir({ prefix: "holdfast_test_" });
  try {
    const [images, denoDir] = [join(root, "images"), join(root, "deno")];
    for (const name of ["npm", "remote"]) {
      await Deno.mkdir(join(denoDir, name), { recursive: true });
    }
    await Deno.writeTextFile(join(denoDir, "npm/package"), "");
    using first = openImages(images);
    // Its planner's runtime makes these folders in its cache.
    const npm = join(first.compiled, "npm");
    await Deno.mkdir(join(npm, "registry"), { recursive: true });
    for (const _ of [1, 2]) {
      using _folders = openImages(images, denoDir);
      assertEquals(await Deno.readLink(npm), join(denoDir, "npm"));
    }
    using _again = openImages(images);
    assert((await Deno.stat(join(denoDir, "npm/package"))).isFile);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
