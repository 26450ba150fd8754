/** What an app may import of Holdfast: that it can be published as it is, is documented, and has true examples. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { EXPORTS } from "../../lib/compile/bundle_holdfast.ts";
import { REPOSITORY } from "../harness/project.ts";

const ENTRIES = Object.values(EXPORTS);

async function deno(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    ...{ args, cwd: REPOSITORY, env: { NO_COLOR: "1" }, stdin: "null" },
  }).output();
  const text = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("");
  assertEquals(code, 0, text);
  return text;
}

Deno.test("what is published is what apps import, and none of it has a fault that JSR would name", async () => {
  const { exports } = JSON.parse(await Deno.readTextFile(join(REPOSITORY, "deno.json")));
  const ours = Object.entries(EXPORTS).map(([name, path]) => [name, `./${path}`]);
  assertEquals(exports, Object.fromEntries(ours));
  const text = await deno("publish", "--dry-run", "--allow-dirty");
  assertEquals(/warning|error/i.test(text), false, text);
  const files = [...text.matchAll(/^ +file:\/\/(\S+) \(/gm)].map(([, path]) =>
    path!.slice(REPOSITORY.length + 1)
  );
  assertEquals(files.sort(), [...ENTRIES, "LICENSE", "deno.json", "deploy/jsr/README.md"].sort());
});

Deno.test("what apps import is documented, and imports nothing", async () => {
  assertMatch(await deno("doc", "--lint", ...ENTRIES), /^Checked 2 files\n$/);
  await deno("lint", "--rules-tags=jsr", ...ENTRIES);
  for (const entry of ENTRIES) {
    const text = await Deno.readTextFile(join(REPOSITORY, entry));
    // Examples in comments import, for their reader.
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
    assertEquals(/\b(from|import)\b\s*\(?["']/.test(code), false, entry);
  }
});

Deno.test("the examples in what apps import run, and their types hold", async () => {
  assertMatch(await deno("test", "--doc", ...ENTRIES), /\b2 passed\b.*\b0 failed\b/);
});
