/** The documentation's pages: links, parts of the site, blocks of code, and what the code says of them. */
import { assertEquals, assertThrows } from "@std/assert";
import { parse } from "jsonc-parser";
import { join } from "node:path";
import { parseConfig } from "../lib/config/load.ts";
import { ConfigError } from "../lib/config/problem.ts";
import { fileOf, headingsOf, linksOf, PAGES } from "../tools/pages.ts";
import { assertPrints, blocksOf, commandsOf } from "./harness/page_blocks.ts";
import { REPOSITORY } from "./harness/project.ts";

/** Pages that are told apart by others: of tests, of benches, of the code. */
const BESIDES = ["tests/README.md", "deploy/npm/README.md"];

function* filesBelow(folder: string, end: RegExp): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(REPOSITORY, folder))) {
    const path = `${folder}/${name}`;
    if (isDirectory) yield* filesBelow(path, end);
    else if (end.test(name)) yield path;
  }
}

const read = (path: string) => Deno.readTextFileSync(join(REPOSITORY, path));

function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(join(REPOSITORY, path)) !== undefined;
  } catch {
    return false;
  }
}

/** Why a link is dead, or nothing. */
function whyDead(path: string, heading: string): string | undefined {
  if (!isThere(path)) return "no such file";
  if (heading === "" || !path.endsWith(".md")) return undefined;
  return headingsOf(read(path)).has(heading) ? undefined : "no such heading";
}

const EXAMPLES = [...filesBelow("examples", /^README\.md$/)];

Deno.test("no link of a page is dead", () => {
  const files = [...PAGES.map(fileOf), ...BESIDES];
  const dead = files.flatMap((file) =>
    linksOf(file, read(file)).flatMap(({ text, path, heading }) => {
      const why = whyDead(path, heading);
      return why === undefined ? [] : [`${file}: ${text.slice(1)}: ${why}`];
    })
  );
  assertEquals(dead, []);
});

Deno.test("every page is in one part of the site, and on its first page", () => {
  const files = [...filesBelow("docs", /\.md$/)].sort();
  const ofSite = PAGES.map(fileOf);
  assertEquals(ofSite.filter((file) => file.startsWith("docs/")).sort(), files);
  assertEquals(new Set(ofSite).size, ofSite.length);
  const first = linksOf("docs/index.md", read("docs/index.md")).map(({ path }) => path);
  assertEquals(
    ofSite.slice(1).filter((file) => !first.includes(file) && !EXAMPLES.includes(file)),
    [],
  );
});

Deno.test("what the code, the samples and the config say of pages is there", () => {
  const folders = ["lib", "deploy", "tools"].flatMap((folder) => [...filesBelow(folder, /./)]);
  const dead = folders.flatMap((file) =>
    [...read(file).matchAll(/\bdocs\/([\w/]+\.md)(?:#([\w-]+))?/g)].flatMap(
      ([text, page = "", heading = ""]) => {
        const why = whyDead(`docs/${page}`, heading);
        return why === undefined ? [] : [`${file}: ${text}: ${why}`];
      },
    )
  );
  assertEquals(dead, []);
});

/** What is wrong with keys of a config that a page shows. */
function problemsOf(text: string): string[] {
  const whole = text.trim().startsWith("{") ? text : `{\n${text}}`;
  const keys: Record<string, unknown> = parse(whole);
  const rest = { app: "./main.ts", listen: ["127.0.0.1:8000"] };
  const missing = Object.entries(rest).filter(([key]) => keys[key] === undefined)
    .map(([key, value]) => `"${key}": ${JSON.stringify(value)},\n`).join("");
  try {
    parseConfig(whole.replace("{", `{\n${missing}`), "holdfast.jsonc");
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(({ message }) => message);
    throw error;
  }
}

/** Pages that say what to do: their blocks are run, or are read here at the least. */
const DONE = PAGES.filter((page) => page === "tutorial" || page.startsWith("howto/"));

Deno.test("the config that a tutorial or a how-to shows is one", () => {
  for (const page of DONE) {
    for (const { language, text, title, line } of blocksOf(read(fileOf(page)))) {
      const isConfig = title === undefined
        ? language === "jsonc"
        : title.endsWith("holdfast.jsonc");
      if (isConfig) assertEquals(problemsOf(text), [], `${page}, line ${line}`);
    }
  }
});

Deno.test("a command that no test runs is one that a shell reads", async () => {
  const ignored = DONE.flatMap((page) =>
    blocksOf(read(fileOf(page))).filter(({ language, ignored }) => language === "sh" && ignored)
  );
  const script = ignored.flatMap(commandsOf).map(({ text }) => text).join("\n");
  const shell = new Deno.Command("sh", { args: ["-n"], stdin: "piped", stderr: "piped" }).spawn();
  const writer = shell.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { success, stderr } = await shell.output();
  assertEquals([success, new TextDecoder().decode(stderr)], [true, ""]);
});

Deno.test("a page that says what a command does not print is noticed", () => {
  const page = "Write `a/b.ts`:\n\n```ts\nfirst\n```\n\n```sh\n" +
    "# For people.\nholdfast check\n# ok ... ms\nholdfast reload \\\n  --json\n# exit status 1\n```\n\n" +
    "```sh ignore\nreboot\n```\n";
  const [file, commands, ignored] = blocksOf(page);
  assertEquals([file?.title, file?.text, ignored?.ignored], ["a/b.ts", "first\n", true]);
  assertEquals(commandsOf(commands!), [
    { text: "holdfast check", prints: ["ok ... ms"], status: 0 },
    { text: "holdfast reload    --json", prints: [], status: 1 },
  ]);
  assertPrints("before\n  ok   after 12 ms\nlast", ["ok ... ms", "last"], "");
  for (const wanted of [["ok ... s"], ["last", "ok ... ms"], ["fore"]]) {
    assertThrows(() => assertPrints("before\nok after 12 ms\nlast", wanted, ""), Error);
  }
});
