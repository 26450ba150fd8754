/**
 * `deno task site [FOLDER]`: builds the documentation's site into FOLDER/dist, or site/dist, with
 * VitePress, which npm installs into FOLDER/node_modules as its lock file says.
 */
import { dirname, join } from "node:path";
import { fileOf, pageForSite, PAGES } from "./pages.ts";

const REPOSITORY = join(import.meta.dirname!, "..");

/** What a build takes of site/, besides the pages. */
const SITE = [
  ...["package.json", "package-lock.json", "parts.json", "slug.mjs"],
  ".vitepress/config.mjs",
];

/** Too long to be searched: a table of what was tried. */
const UNSEARCHED = ["audit"];

async function put(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

/** Writes the pages as the site wants them, and the files that they link to. */
async function writePages(folder: string): Promise<void> {
  await Deno.remove(folder, { recursive: true }).catch(() => {});
  for (const page of PAGES) {
    const source = await Deno.readTextFile(join(REPOSITORY, fileOf(page)));
    const { text, files } = pageForSite(page, source);
    const front = UNSEARCHED.includes(page) ? "---\nsearch: false\n---\n\n" : "";
    await put(join(folder, `${page}.md`), front + text);
    for (const file of files) {
      const source = await Deno.readTextFile(join(REPOSITORY, file));
      await put(join(folder, "public/files", `${file}.txt`), source);
    }
  }
}

async function run(cwd: string, program: string, ...args: string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(program, {
    ...{ args, cwd, stdin: "null" },
  }).output();
  if (success) return;
  const said = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n");
  throw new Error(`${program} ${args.join(" ")}:\n${said}`);
}

/** Builds the site in a folder, which gets `dist` and what that takes. */
export async function buildSite(folder: string): Promise<void> {
  const site = join(REPOSITORY, "site");
  for (const name of folder === site ? [] : SITE) {
    await put(join(folder, name), await Deno.readTextFile(join(site, name)));
  }
  await writePages(join(folder, "pages"));
  // Nothing of its packages is run to install them.
  await run(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline");
  await run(folder, "npm", "run", "build");
}

if (import.meta.main) {
  const [folder = join(REPOSITORY, "site")] = Deno.args;
  await buildSite(folder);
  // deno-lint-ignore no-console
  console.log(`The site is in ${join(folder, "dist")}`);
}
