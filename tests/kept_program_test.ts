/** The program of an executable's image, kept beside it by another name. */
import { assertEquals, assertThrows } from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import { configureLog } from "../lib/base/log.ts";
import type { NativeFacts } from "../lib/protocol/native.ts";
import { keepProgram, keptProgram, stampOf } from "../lib/supervisor/kept_program.ts";

configureLog("none");

/** A folder with an executable and an image. */
class Place implements Disposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "holdfast_test_" });
  readonly executable = join(this.folder, "app");
  readonly image = join(this.folder, "image");
  readonly program = join(this.image, "program");
  readonly facts = { executable: this.executable, interpreter: null } as NativeFacts;

  constructor() {
    Deno.mkdirSync(this.image);
    this.put("first");
  }

  /** As a deployment does. */
  put(text: string): void {
    Deno.writeTextFileSync(`${this.executable}.new`, text);
    Deno.renameSync(`${this.executable}.new`, this.executable);
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

// A library that is loaded when it is first used would look like a leak of a test.
{
  using place = new Place();
  keepProgram(place.image, { ...place.facts, executable: place.folder }, stampOf(place.folder));
}

Deno.test("the program of an image stays when another file takes its executable's place", () => {
  using place = new Place();
  const stamp = stampOf(place.executable);
  keepProgram(place.image, place.facts, stamp);
  assertEquals(keptProgram(place.image), { executable: place.program, interpreter: null });
  place.put("second");
  assertEquals(Deno.readTextFileSync(place.program), "first");
  // Asked again, as by a reload of the same version, it stays what it is.
  keepProgram(place.image, place.facts, stampOf(place.executable));
  assertEquals(Deno.readTextFileSync(place.program), "first");
});

Deno.test("a file that was replaced while its image was made is not kept for that image", () => {
  using place = new Place();
  const stamp = stampOf(place.executable);
  place.put("second");
  const { code } = assertThrows(
    () => keepProgram(place.image, place.facts, stamp),
    HoldfastError,
    "was replaced while it was taken",
  );
  assertEquals(code, "executable_replaced");
  assertEquals([...Deno.readDirSync(place.image)], []);
  keepProgram(place.image, place.facts, stampOf(place.executable));
  assertEquals(Deno.readTextFileSync(place.program), "second");
});

Deno.test("where no link can be made the executable itself goes on being started", () => {
  using place = new Place();
  // No link can be made to a folder.
  const facts = { ...place.facts, executable: place.folder };
  keepProgram(place.image, facts, stampOf(place.folder));
  assertEquals(keptProgram(place.image)?.executable, place.folder);
});

Deno.test("an image without a program of its own has none", () => {
  using place = new Place();
  assertEquals(keptProgram(place.image), undefined);
});
