/**
 * How long it takes in `holdfast dev` from a save until the new version serves, and until a page that is
 * open has it; in turn with a reload in production of the same app, and with a bare `deno run`.
 *
 *     deno run -A benches/dev_bench.ts [--saves 10]
 */
import { parseArgs } from "@std/cli";
import { DevelopmentServer, ListeningPage } from "../tests/harness/development.ts";
import { Project } from "../tests/harness/project.ts";
import { Server } from "../tests/harness/server.ts";
import { sleep } from "../tests/harness/wait.ts";
import { besideBoots, bootMs, countOf, print, printTable } from "./figures.ts";

/** What was started before has ended by then. */
const SPACING_MS = 2_500;

const APP = `
import { title } from "./title.ts";
export default {
  fetch: () => new Response("<!doctype html><h1>" + title + "</h1>", {
    headers: { "content-type": "text/html" },
  }),
};
`;
const titled = (title: string) => `export const title = ${JSON.stringify(title)};\n`;

const args = parseArgs(Deno.args, { string: ["saves"], default: { saves: "10" } });
const saves = countOf(args.saves, "saves");
const files = { "app.ts": APP, "title.ts": titled("first") };

await using production = await Server.startOn(await Project.create({ files }));
await using project = await Project.create({ files });
await using server = await DevelopmentServer.start(project);
using page = await ListeningPage.open(await server.load(), server.origin);
print(`Load ${Deno.loadavg()[0]!.toFixed(1)}, ${navigator.hardwareConcurrency} processors`);

const rows: Record<"boot" | "reload" | "told" | "shown", number[]> = {
  ...{ boot: [], reload: [], told: [], shown: [] },
};
for (let save = 1; save <= saves; save++) {
  await sleep(SPACING_MS);
  rows.boot.push(await bootMs());
  await production.project.write("title.ts", titled(`${save}`));
  rows.reload.push((await production.reload()).ms);
  await sleep(SPACING_MS);
  const startMs = performance.now();
  await project.write("title.ts", titled(`${save}`));
  await page.next("reload", save);
  rows.told.push(performance.now() - startMs);
  const html = await server.load();
  rows.shown.push(performance.now() - startMs);
  if (!html.includes(`<h1>${save}</h1>`)) throw new Error(`The page is still ${html}`);
}
const rowOf = besideBoots(rows.boot);
printTable([
  rowOf("a bare deno run", rows.boot),
  rowOf("a reload in production, as it tells it", rows.reload),
  rowOf("a save until pages are told", rows.told),
  rowOf("a save until a page is loaded again", rows.shown),
]);
print(`Load ${Deno.loadavg()[0]!.toFixed(1)}`);
