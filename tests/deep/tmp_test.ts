/** What processes leave in their temporary folders, and what becomes of the folders of others. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { dirname } from "node:path";
import { tellHelper } from "../harness/helpers.ts";
import { tell } from "../harness/obeying_app.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { assertLook, CONFIG, FILES, gone, LOOK, type Look } from "../harness/temporary.ts";
import { untilTold } from "../harness/wait.ts";

/** What a hostile process leaves, with what its wall lets it do. */
const MESS = `
  const root = Deno.makeTempDirSync();
  Deno.mkdirSync(root + "/deep");
  // From the inside out: no path is ever long.
  for (let depth = 0; depth < 3_000; depth++) {
    Deno.mkdirSync(root + "/around");
    Deno.renameSync(root + "/deep", root + "/around/deep");
    Deno.renameSync(root + "/around", root + "/deep");
  }
  Deno.mkdirSync(root + "/closed", { mode: 0 });
  Deno.mkdirSync(root + "/unlisted", { mode: 0o300 });
  Deno.writeTextFileSync(root + "/unlisted/file", "x");
  Deno.mkdirSync(root + "/unlisted/inner", { mode: 0o300 });
  Deno.writeTextFileSync(root + "/unlisted/inner/file", "x");
  Deno.mkdirSync(root + "/full/inner", { recursive: true });
  for (const name of ["a", "\\u{1f600}", "with space", "-rf", "line\\nend"]) {
    Deno.writeTextFileSync(root + "/full/" + name, "x");
    Deno.writeTextFileSync(root + "/full/inner/" + name, "x");
  }
  Deno.mkdirSync(root + "/full/inner/closed", { mode: 0 });
  return root;`;

Deno.test("whatever a process leaves in its temporary folder is removed, and nothing that it leads to", async () => {
  const project = await Project.create({
    files: { ...FILES, "outside/kept.txt": "kept" },
    config: CONFIG,
  });
  // So that, where root tests, each process has an account of its own.
  await Deno.chmod(project.folder, 0o755);
  await using server = await Server.startOn(project);
  const made = (await tellHelper(server, MESS)).ok as string;
  assert(typeof made === "string");
  const outside = project.path("outside");
  // No process can make a link; one that could would get no further.
  for (const name of ["link", "full/link", "full/inner/link"]) {
    await Deno.symlink(outside, `${made}/${name}`);
    await Deno.symlink(`${outside}/kept.txt`, `${made}/${name}_to_file`);
  }
  await Deno.symlink("/nowhere", `${made}/full/dangling`);
  const link = await tellHelper(server, `Deno.symlinkSync("/etc", "${made}/own"); return 1`);
  assertEquals(link.ok, undefined);
  const { uid } = (await tellHelper(server, LOOK)).ok as Look;
  if (Deno.uid() === 0) assertNotEquals(uid, 0);
  assertEquals((await server.reload()).outcome, "done");
  await gone(dirname(made));
  assertEquals(server.eventsOf("temporary_left"), []);
  assertEquals(await Deno.readTextFile(`${outside}/kept.txt`), "kept");
});

Deno.test("temporary folders of a supervisor that was killed are removed by the next start", async () => {
  const first = await Server.start({ files: FILES, config: CONFIG });
  const { folder } = assertLook((await tell(first, LOOK)).ok, first.project.runtime);
  first.signal("SIGKILL");
  await first.exited();
  await using second = await Server.startOn(first.project);
  const own = assertLook((await tell(second, LOOK)).ok, second.project.runtime);
  // What the killed one has started may live a little longer than it, and its folders with it.
  await untilTold("the old folder to be gone", async () => {
    await second.reload();
    return !(await exists(folder));
  });
  assertNotEquals(own.folder, folder);
});

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

Deno.test("temporary folders are kept over an upgrade for those that use them", async () => {
  await using server = await Server.start({ files: FILES, config: CONFIG });
  const { folder } = assertLook((await tell(server, LOOK)).ok, server.project.runtime);
  // It is answered when the next supervisor serves: the rehearsal before that removes nothing either.
  const slow = tell(
    server,
    `while (!(await Deno.lstat("${folder}/go").catch(() => undefined))) {
       await new Promise((resolve) => setTimeout(resolve, 50));
     }
     return Deno.makeTempFileSync().startsWith(Deno.env.get("TMPDIR"))`,
  );
  server.signal("SIGUSR2");
  await server.waitFor("serving", 2);
  await Deno.writeTextFile(`${folder}/go`, "");
  assertEquals(await slow, { ok: true });
  await server.waitFor("former_process_ended", 2);
  assertEquals((await server.reload()).outcome, "done");
  await gone(folder);
});
