/** Errands: what a thread of the supervisor does itself, as somebody else and confined to it. */
import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { readProcess } from "../lib/os/file.ts";
import { runErrand } from "../lib/supervisor/errand.ts";

const NOBODY = { uid: 65534, gid: 65534 };
const ignore = Deno.uid() !== 0;

/** A folder of root's that everybody may enter. */
async function createFolder(mode = 0o755): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir({ prefix: "holdfast_errand_" });
  await Deno.chmod(path, mode);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function factsOf(path: string) {
  const { uid, gid, mode } = Deno.statSync(path);
  return { uid, gid, mode: mode! & 0o7777 };
}

function make(folder: string, account?: typeof NOBODY, mode?: number) {
  const owner = mode === undefined ? undefined : { ...NOBODY, mode };
  return runErrand({ errand: "make", path: folder, account, owner }, undefined);
}

/** This process, as the kernel sees it. */
function ownIds(): string[] {
  const status = readProcess(Deno.pid, "status")!;
  return ["Uid", "Gid", "Groups", "CapEff"].map((name) =>
    status.match(new RegExp(`^${name}:.*$`, "m"))![0]
  );
}

// Libraries that are loaded when they are first used would look like leaks of a test.
await make("/dev/null/x").catch(() => {});
readProcess(Deno.pid, "status");

Deno.test({
  name: "a folder is made by the user who is to write there, and nowhere that this user may not",
  ignore,
  async fn() {
    await using open = await createFolder(0o777);
    await using closed = await createFolder(0o755);
    await make(join(open.path, "data"), NOBODY);
    assertEquals(factsOf(join(open.path, "data")), { ...NOBODY, mode: 0o700 });
    await assertRejects(() => make(join(closed.path, "data"), NOBODY), Error, "Permission denied");
    // A group of root's that the supervisor has is not the user's.
    await Deno.chmod(closed.path, 0o770);
    await assertRejects(() => make(join(closed.path, "data"), NOBODY), Error, "Permission denied");
    assertEquals([...Deno.readDirSync(closed.path)], []);
  },
});

Deno.test({
  name: "root makes a folder where nobody else may, hands it over, and keeps its own rights",
  ignore,
  async fn() {
    await using closed = await createFolder(0o700);
    const before = ownIds();
    await make(join(closed.path, "own"), undefined, 0o700);
    await make(join(closed.path, "shared"), undefined, 0o770);
    assertEquals(factsOf(join(closed.path, "own")), { ...NOBODY, mode: 0o700 });
    assertEquals(factsOf(join(closed.path, "shared")), { ...NOBODY, mode: 0o770 });
    // One that is there is not handed over.
    await Deno.mkdir(join(closed.path, "there"));
    await assertRejects(() => make(join(closed.path, "there"), undefined, 0o700), Error, "exists");
    assertEquals(factsOf(join(closed.path, "there")).uid, 0);
    await Deno.symlink("/etc", join(closed.path, "link"));
    await assertRejects(() => make(join(closed.path, "link"), undefined, 0o700), Error, "exists");
    assertEquals(ownIds(), before);
  },
});

Deno.test({
  name: "whether a user may enter a folder is asked as this user, with none of root's groups",
  ignore,
  async fn() {
    await using folder = await createFolder();
    const enter = () =>
      runErrand({ errand: "enter", path: folder.path, account: NOBODY }, undefined);
    const answers: Record<string, string> = {};
    for (const mode of [0o755, 0o711, 0o750, 0o744, 0o700]) {
      await Deno.chmod(folder.path, mode);
      answers[mode.toString(8)] = (await enter()).type;
    }
    assertEquals(answers, {
      ...{ 755: "done", 711: "done", 750: "refused", 744: "refused", 700: "refused" },
    });
  },
});
