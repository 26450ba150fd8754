/** Pages of the documentation that say what to do: it is done, as it stands there. */
import { join } from "node:path";
import { fileOf } from "../../tools/pages.ts";
import { PageReader } from "../harness/page_runner.ts";
import { testWith } from "../harness/needs.ts";
import { REPOSITORY } from "../harness/project.ts";

/** What each page takes, besides curl. */
const PAGES: Readonly<Record<string, Parameters<typeof testWith>[0]>> = {
  tutorial: {},
};

for (const [page, needs] of Object.entries(PAGES)) {
  const programs = ["curl", ...needs.programs ?? []] as const;
  testWith({ ...needs, programs }, `what the page ${page} says comes true`, async () => {
    await using reader = await PageReader.make();
    await reader.read(await Deno.readTextFile(join(REPOSITORY, fileOf(page))));
  });
}
