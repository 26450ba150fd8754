/** The reference pages have what the code has: each event, status key, exit status and metric, and no other. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import * as z from "zod/mini";
import { EXIT } from "../lib/base/exit_code.ts";
import { parseConfig } from "../lib/config/load.ts";
import { Status } from "../lib/protocol/control.ts";
import { REPOSITORY } from "./harness/project.ts";

const read = (path: string) => Deno.readTextFileSync(join(REPOSITORY, path));

/** The rows of all tables of a page: their cells, without marks of code in the first. */
function rowsOf(page: string): string[][] {
  return [...page.matchAll(/^\| `?([^|`]+?)`? +\|(.*)\|$/gm)]
    .filter(([, first]) => !/^(-+|event|key|status|family)$/.test(first!))
    .map(([, first, rest]) => [first!, ...rest!.split("|").map((cell) => cell.trim())]);
}

/** Where the log is written, or what becomes of it elsewhere is not: its own attempts. */
function* sources(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(REPOSITORY, folder))) {
    const path = `${folder}/${name}`;
    if (path === "lib/audit") continue;
    if (isDirectory) yield* sources(path);
    else if (name.endsWith(".ts")) yield read(path);
  }
}

/** The events of the code: in each call of the log, in what a planner warns of, of the logger. */
function eventsOfCode(): Set<string> {
  const found = new Set<string>();
  for (const text of sources("lib")) {
    for (const [, first = ""] of text.matchAll(/\blog\.(?:info|warn|error)\(\s*([^,;{]*)/g)) {
      // A condition may compare the call with "exec"; names have two words, or are one of these.
      for (const [, name = ""] of first.matchAll(/"([a-z]+(?:_[a-z]+)*)"/g)) {
        if (name.includes("_") || ONE_WORD.includes(name)) found.add(name);
      }
    }
    for (const [, name = ""] of text.matchAll(/\bevent: "([a-z]+_[a-z_]+)"/g)) found.add(name);
    for (const [, name = ""] of text.matchAll(/#say\(\s*"\w+",\s*"([a-z_]+)"/g)) found.add(name);
    for (const [, names = ""] of text.matchAll(/\bMARKED = \[([^\]]*)\]/g)) {
      for (const [, name = ""] of names.matchAll(/"([a-z_]+)"/g)) found.add(name);
    }
    for (const [, name = ""] of text.matchAll(/[?:] "([a-z]+s_used_up)"/g)) found.add(name);
  }
  return found;
}

const ONE_WORD = ["serving", "stopping", "stopped", "cutting", "upgrading"];

Deno.test("the page of events has each event of the code, and no other", () => {
  const told = rowsOf(read("docs/events.md")).map(([name]) => name!);
  assertEquals(told.toSorted(), [...eventsOfCode()].toSorted());
});

interface Node {
  readonly type?: string;
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: unknown;
}

/** The keys below a node, as the page writes them: `[]` for lists, `.*` for any name, `?` where it may lack. */
function* keysOf(node: Node, path = ""): Generator<string> {
  const { items, properties, required = [], additionalProperties } =
    node.anyOf?.find(({ type }) => type !== "null") ?? node;
  // Told once, in a section of its own.
  if (path !== "" && properties?.engine !== undefined) yield path;
  else if (items !== undefined) {
    const optional = path.endsWith("?");
    yield* keysOf(items, `${path.replace(/\?$/, "")}[]${optional ? "?" : ""}`);
  } else if (properties !== undefined) {
    for (const [key, value] of Object.entries(properties)) {
      const name = required.includes(key) ? key : `${key}?`;
      yield* keysOf(value, path === "" ? name : `${path}.${name}`);
    }
  } else yield additionalProperties ? `${path}.*` : path;
}

/** The node of a process: the one that has an engine. */
function findProcess(node: Node): Node | undefined {
  if (node.properties?.engine !== undefined) return node;
  const below = [...node.anyOf ?? [], ...node.items ? [node.items] : []];
  for (const each of [...below, ...Object.values(node.properties ?? {})]) {
    const found = findProcess(each);
    if (found !== undefined) return found;
  }
  return undefined;
}

Deno.test("the page of the status has each key, and no other", () => {
  const schema = z.toJSONSchema(Status) as Node;
  const [page, process] = read("docs/status.md").split("## A process\n");
  const told = (text: string) => rowsOf(text).map(([key]) => key!).toSorted();
  assertEquals(told(page!), [...keysOf(schema)].toSorted());
  const { properties = {}, required = [] } = findProcess(schema)!;
  const keys = Object.entries(properties).flatMap((
    [key, value],
  ) => [...keysOf(value, required.includes(key) ? key : `${key}?`)]);
  // The command adds this one, of what the kernel says.
  assertEquals(told(process!), [...keys, "filters?"].toSorted());
});

Deno.test("the pages of exit statuses have each, with its name, and no other", () => {
  const told = rowsOf(read("docs/exit_codes.md")).map(([status, name]) => [name, Number(status)]);
  assertEquals(told, Object.entries(EXIT).map(([name, status]) => [`\`${name}\``, status]));
  const readme = [...read("README.md").matchAll(/^\| (\d+) +\| /gm)].map(([, status]) =>
    Number(status)
  );
  assertEquals(readme, Object.values(EXIT));
});

Deno.test("the page of metrics has each family, and no other", () => {
  const familiesIn = (text: string) =>
    new Set([...text.matchAll(/\bholdfast_[a-z_]+[a-z]\b/g)].map(([name]) => name));
  const table = read("docs/metrics.md").split("\n").filter((line) => line.startsWith("| `"));
  const code = familiesIn(read("lib/metrics/stats.ts"));
  assertEquals([...familiesIn(table.join("\n"))].toSorted(), [...code].toSorted());
});

/** The texts of the code, with `…` for what is put in. */
function messagesOfCode(): string {
  const texts = [...sources("lib")].join("\n");
  // What is put in may have braces of its own.
  const braces = /\$\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}/g;
  return texts.replace(braces, "…").replace(/["'`] \+\s*["'`]/g, "").replace(/\\(["'`])/g, "$1");
}

Deno.test("each message on the page of troubleshooting is one of the code, and each line a config", () => {
  const page = read("docs/troubleshooting.md");
  const [messages] = page.split("## It serves, and something is odd");
  const code = messagesOfCode();
  const quoted = [...messages!.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, message]) => message!);
  assertEquals(quoted.filter((message) => !code.includes(message.replace(/ …$/, ""))), []);
  const lines = [...page.matchAll(/`("\w+": [^`]+)`/g)].map(([, line]) => line!);
  for (const line of lines) {
    parseConfig(`{ "app": "./app.ts", "listen": ["127.0.0.1:8000"], ${line} }`, "holdfast.jsonc");
  }
});
