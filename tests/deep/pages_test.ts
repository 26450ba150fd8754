/** Pages of the documentation that say what to do: it is done, as it stands there. */
import { basename, join } from "node:path";
import { assert, assertEquals } from "@std/assert";
import { fileOf, PAGES as ALL_PAGES } from "../../tools/pages.ts";
import { blocksOf } from "../harness/page_blocks.ts";
import { PageReader } from "../harness/page_runner.ts";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { POSTGRES, Postgres } from "../harness/postgres.ts";
import { REPOSITORY } from "../harness/project.ts";

/** What each page takes, besides curl. */
const PAGES: Readonly<Record<string, Parameters<typeof testWith>[0]>> = {
  tutorial: {},
  "howto/deno_serve": {},
  "howto/node_server": {},
  "howto/express": { programs: ["npm"] },
  "howto/pm2": {},
  "howto/nginx_systemd": {},
  "howto/static_files": {},
  "howto/sqlite": {},
  "howto/postgresql": POSTGRES,
  "howto/secrets": {},
  "howto/uploads": {},
  "howto/sessions": {},
  "howto/jobs": {},
  "howto/react": {},
};

Deno.test("a how-to that has commands to run is run", () => {
  const run = ALL_PAGES.filter((page) =>
    page.startsWith("howto/") &&
    blocksOf(Deno.readTextFileSync(join(REPOSITORY, fileOf(page)))).some(({ language, ignored }) =>
      language === "sh" && !ignored
    )
  );
  assertEquals(Object.keys(PAGES).slice(1).sort(), run.sort());
});

for (const [page, needs] of Object.entries(PAGES)) {
  const programs = ["curl", ...needs.programs ?? []] as const;
  testWith({ ...needs, programs }, `what the page ${page} says comes true`, async () => {
    await using database = page === "howto/postgresql" ? await startDatabase() : undefined;
    await using reader = await PageReader.make(database?.places);
    await reader.read(await Deno.readTextFile(join(REPOSITORY, fileOf(page))));
  });
}

/** The database of the page, with the role and the database `app`. */
async function startDatabase() {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
  await Deno.chmod(folder, 0o755);
  const port = freePort();
  const database = await Postgres.start(folder, ["app"], {}, port);
  await database.sql("create database app owner app");
  return {
    places: { "db.internal:5432": `127.0.0.1:${port}` },
    [Symbol.asyncDispose]: () => database[Symbol.asyncDispose](),
  };
}

testWith({ programs: ["systemd-analyze"] }, "systemd takes the units of pages", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const paths: string[] = [];
    for (const page of ALL_PAGES) {
      const text = await Deno.readTextFile(join(REPOSITORY, fileOf(page)));
      for (const { title, text: unit } of blocksOf(text)) {
        if (!title?.startsWith("/etc/systemd/system/")) continue;
        const path = join(folder, basename(title));
        // It looks whether the program is there; and an older one knows no Type=notify-reload.
        const known = unit.replace(/^ExecStart=\S+/m, "ExecStart=/bin/true")
          .replace(/^Type=notify-reload$/m, "Type=notify");
        await Deno.writeTextFile(path, known);
        paths.push(path);
      }
    }
    assert(paths.length >= 3);
    const { code, stdout, stderr } = await new Deno.Command("systemd-analyze", {
      args: ["--no-pager", "verify", "--man=no", ...paths],
    }).output();
    const said = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("");
    assertEquals([code, said], [0, ""]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
