/** Modules of a graph come from what guarded files name, and others are refused with the line of the import. */
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { dirname, join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import { readProject } from "../lib/config/project.ts";
import { findProject } from "../lib/config/project_files.ts";
import { type Graph, loadGraph } from "../lib/planner/graph.ts";
import {
  filesOfEnvironment,
  namedBy,
  readNamed,
  requireKnownOrigins,
} from "../lib/planner/known_origins.ts";

const NOTHING = namedBy([]);

/** A graph of one module with one import. */
function importing(spelled: string, to: string, from = "file:///srv/app/main.ts"): Graph {
  const span = { start: { line: 2, character: 7 } };
  const dependencies = [{ specifier: spelled, code: { specifier: to, span } }];
  return { modules: [{ specifier: from, dependencies }], redirects: {}, npmPackages: {} };
}

Deno.test("what the importing module itself names is known, and what only a map names is not", () => {
  const known: [spelled: string, to: string, from?: string][] = [
    ["./a.ts", "file:///srv/app/a.ts"],
    ["anything", "file:///srv/elsewhere/a.ts"], // a file is guarded by itself
    ["node:fs", "node:fs"],
    ["fs", "node:fs"],
    ["https://x.test/a.ts", "https://x.test/a.ts"],
    ["./b.ts", "https://x.test/b.ts", "https://x.test/a.ts"],
    ["/b.ts", "https://x.test/b.ts", "https://x.test/deep/a.ts"],
    ["data:text/javascript,1", "data:text/javascript,1"],
    ["npm:hono@4", "npm:hono@4"],
    ["npm:hono@4/jsx", "npm:/hono@4.13.19/jsx"],
    ["npm:@a/b@1", "npm:/@a/b@1.0.0"],
    ["jsr:@a/b@1", "jsr:@a/b@1"],
  ];
  for (const [spelled, to, from] of known) {
    requireKnownOrigins(importing(spelled, to, from), NOTHING);
  }
  const unknown: [spelled: string, to: string][] = [
    ["words", "data:text/javascript,export default 1"],
    ["./a.ts", "data:text/javascript,export default 1"],
    ["words", "https://evil.test/a.ts"],
    ["words", "http://evil.test/a.ts"],
    ["https://x.test/a.ts", "https://evil.test/a.ts"],
    ["hono", "npm:hono@4"],
    ["npm:hono@4", "npm:evil@1"],
    ["npm:hono@4", "npm:@hono/hono@4"],
    ["words", "jsr:@evil/b@1"],
    ["words", "blob:null/1"],
  ];
  for (const [spelled, to] of unknown) {
    const error = assertThrows(
      () => requireKnownOrigins(importing(spelled, to), NOTHING),
      HoldfastError,
      to,
    );
    assertEquals([error.kind, error.code], ["config", "module_unnamed"]);
    assertMatch(error.message, /^file:\/\/\/srv\/app\/main\.ts:3:8 imports /);
  }
});

Deno.test("what settings name is known: hosts, packages, and addresses as a whole", () => {
  const named = namedBy([
    { imports: { words: "data:text/javascript,export default 1", x: "https://x.test/deep/" } },
    { dependencies: { hono: "^4.0.0" }, compilerOptions: { jsxImportSource: "@a/jsx" } },
    { remote: { "https://y.test/z.ts": "hash" }, npm: { "zod@4.6.7": { integrity: "x" } } },
  ]);
  const known: [spelled: string, to: string][] = [
    ["words", "data:text/javascript,export default 1"],
    ["x/a.ts", "https://x.test/deep/a.ts"],
    ["y", "https://y.test/other.ts"],
    ["hono", "npm:/hono@4.13.19"],
    ["zod", "npm:zod@4.6.7"],
    ["@a/jsx/jsx-runtime", "npm:/@a/jsx@1.0.0/jsx-runtime"],
  ];
  for (const [spelled, to] of known) requireKnownOrigins(importing(spelled, to), named);
  for (
    const [spelled, to] of [
      ["words", "data:text/javascript,export default 2"],
      ["x", "http://x.test/deep/a.ts"],
      ["x", "https://x.test.evil.test/"],
      ["x", "npm:hono-evil@4"],
    ]
  ) assertThrows(() => requireKnownOrigins(importing(spelled!, to!), named), HoldfastError);
});

Deno.test("a module that an import map made of its own address is known by that map alone", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    const files = {
      "site/deno.json": JSON.stringify({ importMap: "../maps/map.json", lock: false }),
      "site/main.ts": `// A comment.\nimport words from "words";\nexport default words;\n`,
      "maps/map.json": JSON.stringify({
        imports: { words: `data:text/javascript,export default "a"` },
      }),
    };
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
      await Deno.writeTextFile(join(folder, path), text);
    }
    const module = join(folder, "site/main.ts");
    const place = { module, project: findProject(module) };
    const { settings } = readProject(place);
    const program = Deno.execPath();
    const graph = await loadGraph({ what: "it", place, lockfile: undefined, program });
    requireKnownOrigins(graph, readNamed(graph, settings));
    const error = assertThrows(
      () => requireKnownOrigins(graph, readNamed(graph, [])),
      HoldfastError,
      `${module}:2:19 imports "words"`,
    );
    assertStringIncludes(error.hint!, "deno.json");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("files that the environment names decide from where packages come", () => {
  const environment: Record<string, string> = {
    ...{ HOME: "/home/a", NPM_CONFIG_USERCONFIG: "/conf/../conf/npmrc", DENO_CERT: "/ca.pem" },
    ...{ npm_config_globalconfig: "/g", SSL_CERT_DIR: "relative" },
  };
  assertEquals(filesOfEnvironment((name) => environment[name]), [
    ...["/home/a/.npmrc", "/conf/npmrc", "/g", "/ca.pem"],
  ]);
});
