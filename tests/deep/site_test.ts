/** The documentation as a site: it is built as it is published, and no link in it leads nowhere. */
import { assert, assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { buildSite } from "../../tools/build_site.ts";
import { PAGES } from "../../tools/pages.ts";
import { testWith } from "../harness/needs.ts";

function* filesIn(folder: string, under = ""): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(folder, under))) {
    const path = join(under, name);
    if (isDirectory) yield* filesIn(folder, path);
    else yield path;
  }
}

/** The addresses in a page, and the names that addresses may end with. */
function read(html: string): { readonly links: string[]; readonly names: Set<string> } {
  const all = (pattern: RegExp) => [...html.matchAll(pattern)].map(([, found]) => found!);
  return {
    links: all(/\b(?:href|src)="([^"]+)"/g).filter((link) => !/^([a-z]+:|\/\/)/.test(link)),
    names: new Set(all(/\bid="([^"]+)"/g)),
  };
}

testWith(
  { programs: ["npm"], builds: true },
  "the site is built, and has no dead link",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
    try {
      await buildSite(folder);
      const site = join(folder, "dist");
      const files = new Set(filesIn(site));
      for (const page of PAGES) assert(files.has(`${page}.html`), page);
      const pages = new Map(
        [...files].filter((file) => file.endsWith(".html")).map((file) => [
          file,
          read(Deno.readTextFileSync(join(site, file))),
        ]),
      );
      const dead: string[] = [];
      for (const [file, { links }] of pages) {
        for (const link of links) {
          const [path = "", name = ""] = decodeURIComponent(link).split("#");
          const to = path === ""
            ? file
            : path === "/"
            ? "index.html"
            : path.startsWith("/")
            ? path.slice(1)
            : join(dirname(file), path);
          const found = name === "" || pages.get(to) === undefined ||
            pages.get(to)!.names.has(name);
          if (!files.has(to) || !found) dead.push(`${file}: ${link}`);
        }
      }
      assertEquals(dead, []);
      // The index of words that the search looks in.
      const search = [...files].find((file) => file.includes("localSearchIndex"))!;
      const index = await Deno.readTextFile(join(site, search));
      assert(index.includes("unveil"));
      // A table of 900 rows would be most of it.
      assert(!index.includes("FW1.native_exchange"));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
