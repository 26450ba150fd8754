import { readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig } from "vitepress";
import { slugOf } from "../slug.mjs";

const site = join(import.meta.dirname, "..");
const pages = join(site, "pages");
const parts = JSON.parse(readFileSync(join(site, "parts.json"), "utf8"));

/** The first heading of a page, without its marks of code. */
function titleOf(page) {
  const text = readFileSync(join(pages, `${page}.md`), "utf8");
  return /^# (.+)$/m.exec(text)[1].replaceAll("`", "");
}

export default defineConfig({
  title: "Holdfast",
  description: "A privilege-separated, zero-downtime server for Hono apps, on Deno",
  lang: "en",
  srcDir: "pages",
  outDir: "dist",
  cleanUrls: false,
  // Its own look for dead links stays on.
  markdown: { anchor: { slugify: slugOf } },
  themeConfig: {
    search: { provider: "local" },
    outline: [2, 3],
    nav: parts.map(({ title, pages: [first] }) => ({ text: title, link: `/${first}` })),
    sidebar: parts.map(({ title, pages }) => ({
      text: title,
      items: pages.map((page) => ({ text: titleOf(page), link: `/${page}` })),
    })),
  },
});
