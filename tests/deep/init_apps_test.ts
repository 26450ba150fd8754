/** `holdfast init --yes` for apps as people have them: what it proposes passes `check`, and the app answers. */
import { assertEquals, assertMatch } from "@std/assert";
import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";

interface Case {
  readonly files: Readonly<Record<string, string>>;
  /** What is asked, and what is answered. */
  readonly answers: Readonly<Record<string, RegExp>>;
}

const manifest = (more: Record<string, unknown>) => JSON.stringify({ name: "tried", ...more });

const APPS: Readonly<Record<string, Case>> = {
  "TypeScript run by a script of its folder, with names of tsconfig.json and variables of a file": {
    files: {
      "package.json": manifest({
        type: "module",
        scripts: { "dev:server": "tsx watch src/server" },
      }),
      "tsconfig.json": `{ "compilerOptions": { "baseUrl": ".", "paths": { "@/*": ["src/*"] } } }`,
      "src/server/index.ts": `import http from "node:http";
import { greet } from "@/greet.js";
http.createServer((_, response) => response.end(greet(process.env.NAME!))).listen(3000);`,
      "src/greet.ts": "export const greet = (name: string): string => `hello ${name}`;",
      ".env": "NAME=world\n",
    },
    answers: { "/": /^hello world$/ },
  },
  "CommonJS that sends a file beside it, and keeps its data in a folder that is not there yet": {
    files: {
      "package.json": manifest({ scripts: { start: "node index" } }),
      "index.js": `const fs = require("fs");
const http = require("http");
const path = require("path");
const { DatabaseSync } = require("node:sqlite");
const db = new DatabaseSync("store/visits.db");
db.exec("create table if not exists visits (at text)");
http.createServer((request, response) => {
  if (request.url === "/page") return fs.createReadStream(path.join(__dirname, "page.html")).pipe(response);
  db.exec("insert into visits values ('now')");
  response.end("visits " + db.prepare("select count(*) as n from visits").get().n);
}).listen(process.env.PORT || 3000);`,
      "page.html": "<h1>hello</h1>",
    },
    answers: { "/": /^visits 1$/, "/page": /^<h1>hello<\/h1>$/ },
  },
  "one module of an unusual name, with a folder for the browser": {
    files: {
      "deno.json": "{}",
      "hello.ts": `Deno.serve({ port: 4567 }, async (request) => {
  const { pathname } = new URL(request.url);
  if (pathname === "/") return new Response("hello");
  return new Response(await Deno.readTextFile("./public" + pathname));
});`,
      "public/style.css": "h1 { color: red }",
    },
    answers: { "/": /^hello$/, "/style.css": /red/ },
  },
};

Deno.test("what init proposes passes check, and the app answers", async (t) => {
  for (const [name, { files, answers }] of Object.entries(APPS)) {
    await t.step(name, async () => {
      const project = await Project.create({ files });
      for (const each of ["holdfast.jsonc", "app.ts"]) await Deno.remove(project.path(each));
      const made = await runCommand(project, "init", "--yes");
      assertEquals(made.code, 0, made.stderr);
      const proposed = await Deno.readTextFile(project.configFile);
      const placed = proposed.replace(/127\.0\.0\.1:\d+/, `127.0.0.1:${project.port}`);
      await Deno.writeTextFile(project.configFile, placed);
      const checked = await runCommand(project, "check");
      assertEquals(checked.code, 0, `${checked.stderr}\n${proposed}`);
      await using server = await Server.startOn(project);
      for (const [path, answer] of Object.entries(answers)) {
        assertMatch(await server.text(path), answer, proposed);
      }
    });
  }
});
