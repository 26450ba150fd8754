import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../../lib/base/error.ts";
import { digestSources } from "../../lib/planner/programs.ts";
import { canOpen } from "../../lib/os/file.ts";
import { findDenoDir } from "../../lib/supervisor/image_store.ts";
import { loadPrograms } from "../../lib/supervisor/load_programs.ts";
import { runOwn } from "../../lib/supervisor/run_own.ts";
import { REPOSITORY } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

/** A copy of Holdfast's sources, a DENO_DIR and a runtime folder. */
class Place implements Disposable {
  readonly folder = Deno.makeTempDirSync({ prefix: "holdfast_programs_" });
  readonly holdfast = join(this.folder, "holdfast");
  readonly denoDir = join(this.folder, "deno");
  readonly runtime = join(this.folder, "runtime");

  constructor() {
    Deno.mkdirSync(this.holdfast);
    Deno.mkdirSync(this.runtime);
    Deno.mkdirSync(this.denoDir);
    // What is fetched is there.
    for (const name of ["npm", "dl", "remote"]) {
      Deno.symlinkSync(join(findDenoDir(), name), join(this.denoDir, name));
    }
    for (const name of ["lib", "worker.ts", "deno.json", "deno.lock"]) {
      const { success } = new Deno.Command("cp", {
        args: ["-r", join(REPOSITORY, name), join(this.holdfast, name)],
      }).outputSync();
      assert(success);
    }
  }

  load(signal = new AbortController().signal, wall: "kernel" | "deno" = "kernel") {
    return loadPrograms(this.runtime, this.denoDir, signal, wall, this.holdfast);
  }

  /** The programs that are kept. */
  /** The files in which programs are kept; beside each lies what Deno has compiled of it. */
  kept(): string[] {
    return Array.from(
      Deno.readDirSync(join(this.denoDir, "holdfast")),
      ({ name }) => join(this.denoDir, "holdfast", name),
    ).filter((path) => path.endsWith(".json"));
  }

  append(name: string, text: string): void {
    Deno.writeTextFileSync(join(this.holdfast, name), text, { append: true });
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.folder, { recursive: true });
  }
}

// Libraries that are loaded when they are first used would look like leaks of a test.
canOpen("/");
for (const signal of [new AbortController().signal, AbortSignal.abort()]) {
  const may = { network: "none" as const, writes: [] };
  await runOwn({ args: ["--version"], denoDir: "/", may, signal }).catch(() => {});
}

Deno.test("Holdfast's own programs are bundled once for each state of the sources", async (t) => {
  using place = new Place();
  const first = await place.load();
  const [kept] = place.kept();

  await t.step("what is kept is what was made, and nothing else is left", async () => {
    assertEquals(place.kept(), [
      join(place.denoDir, "holdfast", `${digestSources(place.holdfast)}.json`),
    ]);
    assertEquals([...Deno.readDirSync(place.runtime)], []);
    assertEquals(await place.load(), first);
    // The one that is kept is taken, where it is whole.
    Deno.writeTextFileSync(kept!, JSON.stringify({ ...first, worker: "kept" }));
    assertEquals((await place.load()).worker, "kept");
  });

  await t.step("what a power failure has cut, or left out, is made again", async () => {
    const text = JSON.stringify(first);
    for (const torn of ["", text.slice(0, -1), text.replaceAll("e", "\0"), '{"worker":""}']) {
      Deno.writeTextFileSync(kept!, torn);
      assertEquals(await place.load(), first);
      assertEquals(Deno.readTextFileSync(kept!), text);
    }
  });

  await t.step(
    "sources that changed are bundled anew, and those that came back are not",
    async () => {
      const source = Deno.readTextFileSync(join(place.holdfast, "worker.ts"));
      const marked = "\n(globalThis as Record<string, unknown>).marked = true;\n";
      place.append("worker.ts", marked);
      const second = await place.load();
      assertStringIncludes(second.worker, "marked");
      assertEquals(second.helper, first.helper);
      assertEquals(place.kept().length, 2);
      Deno.writeTextFileSync(join(place.holdfast, "worker.ts"), source);
      assertEquals(await place.load(), first);
      // The import map and the lock decide what a package is.
      for (const name of ["deno.json", "deno.lock", "lib/base/error.ts"]) {
        const before = digestSources(place.holdfast);
        place.append(name, "\n");
        assert(digestSources(place.holdfast) !== before, name);
      }
    },
  );

  await t.step("sources that do not bundle are told, and nothing is kept of them", async () => {
    const count = place.kept().length;
    place.append("worker.ts", "\nimport './missing.ts';\n");
    const error = await assertRejects(() => place.load(), HoldfastError, "missing.ts");
    assertEquals([error.kind, error.code], ["environment", "bundle_failed"]);
    assertEquals(place.kept().length, count);
    assertEquals([...Deno.readDirSync(place.runtime)], []);
  });
});

Deno.test("programs are bundled at each start where DENO_DIR takes nothing, without the kernel's wall too", async () => {
  using place = new Place();
  Deno.writeTextFileSync(join(place.denoDir, "holdfast"), "a file in the way");
  for (const wall of ["kernel", "deno"] as const) {
    assertStringIncludes((await place.load(undefined, wall)).worker, "holdfast:app");
  }
  assertEquals([...Deno.readDirSync(place.runtime)], []);
  assertEquals(Deno.readTextFileSync(join(place.denoDir, "holdfast")), "a file in the way");
});

Deno.test("a stop ends the bundling, and leaves nothing", async () => {
  using place = new Place();
  const stop = new AbortController();
  const loading = place.load(stop.signal);
  await until("the bundling", () => [...Deno.readDirSync(place.runtime)].length > 0);
  stop.abort();
  await assertRejects(() => loading, HoldfastError);
  await until("an empty folder", () => [...Deno.readDirSync(place.runtime)].length === 0);
  assertEquals([...Deno.readDirSync(place.denoDir)].some(({ name }) => name === "holdfast"), false);
});
