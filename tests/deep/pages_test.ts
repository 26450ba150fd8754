/** Pages of the documentation that say what to do: it is done, as it stands there. */
import { join } from "node:path";
import { assertEquals } from "@std/assert";
import { fileOf, PAGES as ALL_PAGES } from "../../tools/pages.ts";
import { blocksOf } from "../harness/page_blocks.ts";
import { PageReader } from "../harness/page_runner.ts";
import { testWith } from "../harness/needs.ts";
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
    await using reader = await PageReader.make();
    await reader.read(await Deno.readTextFile(join(REPOSITORY, fileOf(page))));
  });
}
