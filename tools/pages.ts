/** The pages of the documentation, and what they link to. */
import { dirname, join } from "node:path";
import { slugOf } from "../site/slug.mjs";
import parts from "../site/parts.json" with { type: "json" };

/** The parts of the site, each with the names of its pages. */
export const PARTS: readonly { readonly title: string; readonly pages: readonly string[] }[] =
  parts;

/** Files outside of docs/ that are pages of the site, by the names of the pages. */
const OUTSIDE: Readonly<Record<string, string>> = {
  readme: "README.md",
  security: "SECURITY.md",
  changelog: "CHANGELOG.md",
  contributing: "CONTRIBUTING.md",
};

/** The file of a page, from the repository's folder. */
export function fileOf(page: string): string {
  if (page.startsWith("examples/")) return `${page}/README.md`;
  return OUTSIDE[page] ?? `docs/${page}.md`;
}

/** Every page of the site: those of its parts, and the first one. */
export const PAGES: readonly string[] = ["index", ...PARTS.flatMap(({ pages }) => pages)];

/** A link of a page. */
export interface Link {
  /** As it is written, with the mark before it: `](config.md#env)`. */
  readonly text: string;
  /** What it leads to, from the repository's folder. */
  readonly path: string;
  /** The heading, or nothing. */
  readonly heading: string;
}

const FENCE = /^ {0,3}(`{3,}|~{3,})[^\n]*\n[\s\S]*?^ {0,3}\1 *$/gm;

/** A text without its blocks of code. */
export function withoutCode(text: string): string {
  return text.replace(FENCE, "");
}

/** The links of a page to files of the repository. */
export function linksOf(file: string, text: string): Link[] {
  return [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([written, target = ""]) => {
    if (/^[a-z]+:/.test(target)) return [];
    const [path = "", heading = ""] = target.split("#");
    return {
      text: written,
      path: path === "" ? file : join(dirname(file), path).replace(/\/$/, ""),
      heading,
    };
  });
}

/** The names of a page's headings, as links have them. */
export function headingsOf(text: string): Set<string> {
  const found = new Set<string>();
  for (const [, heading = ""] of withoutCode(text).matchAll(/^#{1,6} (.+)$/gm)) {
    const slug = slugOf(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, "$1").replaceAll("`", ""));
    let name = slug;
    for (let count = 1; found.has(name); count++) name = `${slug}-${count}`;
    found.add(name);
  }
  return found;
}

/** A page for the site: what it links to outside of the pages becomes a file beside them. */
export function pageForSite(
  page: string,
  text: string,
): { readonly text: string; readonly files: readonly string[] } {
  const file = fileOf(page);
  const pageOf = new Map(PAGES.map((each) => [fileOf(each), each]));
  const files: string[] = [];
  let made = text;
  for (const link of linksOf(file, text)) {
    if (link.path === file) continue;
    const other = pageOf.get(link.path);
    if (other === undefined) files.push(link.path);
    const place = other === undefined ? `/files/${link.path}.txt` : `/${other}.md`;
    const heading = link.heading === "" ? "" : `#${link.heading}`;
    made = made.replaceAll(link.text, `](${place}${heading})`);
  }
  return { text: made, files };
}
