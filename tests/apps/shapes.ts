/** Apps of shapes that strangers bring: workspaces, views, plugins, pools of workers, files of every kind. */
import type { AppCase } from "../harness/apps.ts";

const HONO = { hono: "4.13.19" };

const json = (value: unknown) => JSON.stringify(value);

/** By what they are. */
export const SHAPES: Readonly<Record<string, AppCase>> = {
  "a member of an npm workspace, with a package of the workspace": {
    config: { app: "./apps/web/main.ts" },
    manifest: { name: "all", private: true, workspaces: ["apps/*", "packages/*"] },
    files: {
      "apps/web/package.json": json({
        ...{ name: "web", version: "1.0.0", type: "module" },
        dependencies: { ...HONO, "@all/greeting": "1.0.0" },
      }),
      "apps/web/main.ts": `import { greet } from "@all/greeting";
import { Hono } from "hono";
export default new Hono().get("/", (c) => c.text(greet(c.req.query("name") as string ?? "world")));
`,
      "packages/greeting/package.json": json({
        ...{ name: "@all/greeting", version: "1.0.0", type: "module", exports: "./src/mod.ts" },
        dependencies: { zod: "4.6.7" },
      }),
      "packages/greeting/src/mod.ts": `import * as z from "zod";
const Name = z.string().min(1);
export const greet = (name: string): string => \`hello \${Name.parse(name)}\`;
`,
    },
    build: ["install"],
    answer: /^hello world$/,
  },
  "the imports of package.json": {
    config: { app: "./src/main.ts" },
    manifest: {
      ...{ name: "aliases", type: "module", dependencies: HONO },
      imports: { "#greeting": "./src/greeting.ts", "#lib/*": "./src/lib/*.ts", "#web": "hono" },
    },
    files: {
      "src/greeting.ts": `export { word } from "#lib/word";`,
      "src/lib/word.ts": `export const word: string = "hello";`,
      "src/main.ts": `import { word } from "#greeting";
import { Hono } from "#web";
export default new Hono().get("/", (c) => c.text(word));
`,
    },
    build: ["install"],
  },
  "Express in CommonJS with views and static files": {
    config: { app: "./server.js", unveil: { "./public": "r", "./views": "r" } },
    manifest: {
      name: "views",
      dependencies: {
        express: "5.3.0",
        ejs: "3.1.10",
        pug: "3.0.4",
        "express-handlebars": "8.0.3",
      },
    },
    files: {
      "server.js": `const path = require("path");
const express = require("express");
const { engine } = require("express-handlebars");
const routes = require("./routes");
const { title } = require("./config.json");
const app = express();
app.engine("handlebars", engine());
app.set("view engine", "ejs");
app.set("views", path.join(__dirname, "views"));
app.use(express.static(path.join(__dirname, "public")));
app.use("/", routes(title));
if (require.main === module) app.listen(process.env.PORT || 3000);
module.exports = app;
`,
      "config.json": json({ title: "hello" }),
      "routes/index.js": `const { Router } = require("express");
module.exports = (title) => Router()
  .get("/", (request, response) => response.render("index", { title }))
  .get("/pug", (request, response) => response.render("page.pug", { title }))
  .get("/handlebars", (request, response) => response.render("home.handlebars", { title }));
`,
      "views/index.ejs": `<h1><%= title %></h1><%- include("part") %>`,
      "views/part.ejs": "<p>part</p>",
      "views/page.pug": "extends layout\nblock content\n  h1= title",
      "views/layout.pug": "html\n  body\n    block content",
      "views/home.handlebars": "<h1>{{title}}</h1>",
      "views/layouts/main.handlebars": "<body>{{{body}}}</body>",
      "public/style.css": "h1 { color: red }",
    },
    build: ["install"],
    answer: /^<h1>hello<\/h1><p>part<\/p>$/,
    also: {
      "/pug": /<h1>hello<\/h1>/,
      "/handlebars": /<body><h1>hello<\/h1><\/body>/,
      "/style.css": /color: red/,
    },
  },
  "Fastify with plugins that it loads by itself, and static files": {
    config: {
      app: "./server.js",
      unveil: { "./package.json": "r", "./plugins": "r", "./public": "r", "./routes": "r" },
    },
    manifest: {
      ...{ name: "autoload", type: "module" },
      dependencies: {
        "@fastify/autoload": "6.5.0",
        "@fastify/static": "10.1.11",
        fastify: "5.12.8",
        "fastify-plugin": "6.0.1",
      },
    },
    files: {
      "server.js": `import { join } from "node:path";
import autoload from "@fastify/autoload";
import files from "@fastify/static";
import Fastify from "fastify";
const fastify = Fastify({ logger: true });
fastify.register(files, { root: join(import.meta.dirname, "public"), prefix: "/public/" });
fastify.register(autoload, { dir: join(import.meta.dirname, "plugins") });
fastify.register(autoload, { dir: join(import.meta.dirname, "routes") });
await fastify.listen({ port: 3000 });
`,
      "plugins/greeting.js": `import plugin from "fastify-plugin";
export default plugin(async (fastify) => { fastify.decorate("greeting", "hello"); });
`,
      "routes/root.js": `export default async function (fastify) {
  fastify.get("/", async () => fastify.greeting);
}
`,
      "public/a.txt": "static",
    },
    build: ["install"],
    also: { "/public/a.txt": /^static$/ },
  },
  "files imported as JSON, text and bytes": {
    files: {
      "deno.json": json({ unstable: ["raw-imports"] }),
      "data.json": json({ word: "hello" }),
      "note.txt": "text",
      "page.html": "<p>page</p>",
    },
    app: `import data from "./data.json" with { type: "json" };
import note from "./note.txt" with { type: "text" };
import bytes from "./page.html" with { type: "bytes" };
const page = new TextDecoder().decode(bytes);
export default { fetch: () => new Response([data.word, note.trim(), page].join(" ")) };`,
    answer: /^hello text <p>page<\/p>$/,
  },
  "an app that reads its own package.json": {
    config: { app: "./main.js", unveil: { "./package.json": "r" } },
    manifest: { name: "hello", version: "1.2.3", type: "module" },
    files: {
      "main.js": `import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
const { version } = createRequire(import.meta.url)("./package.json");
const { name } = JSON.parse(readFileSync(new URL("./package.json", import.meta.url), "utf8"));
export default { fetch: () => new Response(name + " " + version) };
`,
    },
    answer: /^hello 1\.2\.3$/,
  },
  "a pool of threads by piscina": {
    config: { app: "./main.js", unveil: { "./job.js": "r" } },
    manifest: { name: "pool", type: "module", dependencies: { piscina: "5.3.2" } },
    files: {
      "job.js": `export default (n) => n * n;`,
      "main.js": `import { Piscina } from "piscina";
const pool = new Piscina({ filename: new URL("./job.js", import.meta.url).href, maxThreads: 2 });
export default { fetch: async () => new Response("hello " + await pool.run(7)) };
export const close = () => pool.destroy();
`,
    },
    build: ["install"],
    answer: /^hello 49$/,
  },
  "a Web Worker beside the app": {
    config: { unveil: { "./job.ts": "r" } },
    files: {
      "deno.json": "{}",
      "job.ts": `self.onmessage = ({ data }: MessageEvent<number>) => self.postMessage(data * 2);`,
    },
    app: `const worker = new Worker(new URL("./job.ts", import.meta.url), { type: "module" });
const double = (n) => new Promise((resolve) => {
  worker.addEventListener("message", ({ data }) => resolve(data), { once: true });
  worker.postMessage(n);
});
export default { fetch: async () => new Response("hello " + await double(21)) };
export const close = () => worker.terminate();`,
    answer: /^hello 42$/,
  },
  "variables from the file that node --env-file reads": {
    config: { env: ["GREETING"], envFile: "./.env" },
    files: { ".env": `GREETING="hello from the file"\n`, "deno.json": "{}" },
    app: `const { GREETING = "nothing" } = process.env;
export default { fetch: () => new Response(GREETING) };`,
    answer: /^hello from the file$/,
  },
  "variables read by dotenv and zod": {
    config: { env: ["GREETING"], envFile: "./.env" },
    packages: { dotenv: "17.2.3", zod: "4.6.7" },
    files: { ".env": `GREETING="hello from the file"\n` },
    app: `import "dotenv/config";
import * as z from "zod";
const env = z.object({ GREETING: z.string() }).parse(process.env);
export default { fetch: () => new Response(env.GREETING) };`,
    answer: /^hello from the file$/,
    refusal: /^Refused: env GREETING$/,
  },
  "variables from a file that only dotenv reads": {
    config: { envFile: "./.env" },
    packages: { dotenv: "17.2.3" },
    files: { ".env": "GREETING=hello" },
    app: `import { config } from "dotenv";
config();
export default { fetch: () => new Response("hello") };`,
  },
  "TypeScript that is written for the tools of Node": {
    config: { app: "./src/index.ts" },
    manifest: {
      ...{ name: "written", type: "module", dependencies: HONO },
      scripts: { start: "node dist/index.js", dev: "tsx watch src/index.ts" },
    },
    files: {
      "tsconfig.json": `{
  // The paths are of the one that this extends.
  "extends": "./tsconfig.base.json",
  "compilerOptions": { "outDir": "dist", },
}`,
      "tsconfig.base.json": json({
        compilerOptions: {
          baseUrl: "./src",
          paths: { "@/*": ["missing/*", "*"], "~words": ["words/index"] },
        },
      }),
      "src/index.ts": `import { Hono } from "hono";
import { greet } from "@/greet/greet";
import { mark } from "./mark.js";
import { name } from "./names";
const app = new Hono();
app.get("/", (c) => c.text(greet(name) + mark));
app.get("/later", async (c) => c.text((await import("@/greet/later.js")).default));
export default app;
`,
      "src/greet/greet.ts": `import { word } from "~words";
export const greet = (name: string): string => \`\${word} \${name}\`;
`,
      "src/greet/later.ts": `export default "later";`,
      "src/mark.ts": `export const mark: string = "!";`,
      "src/names/index.ts": `export const name: string = "world";`,
      "src/words/index.ts": `export const word: string = "hello";`,
    },
    build: ["install"],
    answer: /^hello world!$/,
    also: { "/later": /^later$/ },
  },
  "Hattip on node:http": {
    packages: { "@hattip/adapter-node": "0.0.49" },
    app: `import { createServer } from "@hattip/adapter-node";
createServer((context) => new Response("hello " + context.ip)).listen(3000, "localhost");`,
    answer: /^hello 127\.0\.0\.1$/,
  },
  "Hono with OpenAPI and Swagger UI": {
    packages: { ...HONO, "@hono/swagger-ui": "0.6.1", "@hono/zod-openapi": "1.6.3", zod: "4.6.7" },
    app: `import { swaggerUI } from "@hono/swagger-ui";
import { createRoute, OpenAPIHono, z } from "@hono/zod-openapi";
const app = new OpenAPIHono();
app.openapi(createRoute({
  method: "get",
  path: "/hello/{name}",
  request: { params: z.object({ name: z.string().openapi({ example: "world" }) }) },
  responses: { 200: { description: "a greeting", content: { "application/json": { schema: z.object({ hello: z.string() }) } } } },
}), (c) => c.json({ hello: c.req.valid("param").name }));
app.doc("/doc", { openapi: "3.0.0", info: { title: "hello", version: "1" } });
app.get("/ui", swaggerUI({ url: "/doc" }));
export default app;`,
    path: "/hello/world",
    answer: /"hello":"world"/,
    also: { "/doc": /"\/hello\/\{name\}"/, "/ui": /swagger/ },
  },
  "Hono with a WebSocket": {
    packages: HONO,
    app: `import { Hono } from "hono";
import { upgradeWebSocket } from "hono/deno";
const app = new Hono();
app.get("/socket", upgradeWebSocket(() => ({ onMessage: (event, socket) => socket.send(event.data) })));
app.get("/", (c) => c.text("hello"));
Deno.serve(app.fetch);`,
  },
  "a Model Context Protocol server on Express": {
    packages: { "@modelcontextprotocol/sdk": "1.32.2", express: "5.3.0", zod: "3.25.76" },
    app: `import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import express from "express";
import { z } from "zod";
const app = express();
app.use(express.json());
app.all("/mcp", async (request, response) => {
  const server = new McpServer({ name: "hello", version: "1.0.0" });
  server.registerTool("greet", { inputSchema: { name: z.string() } }, ({ name }) => ({ content: [{ type: "text", text: name }] }));
  const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
  await server.connect(transport);
  await transport.handleRequest(request, response, request.body);
});
app.get("/", (request, response) => response.send("hello"));
app.listen(3000);`,
  },
  "Apollo Server by itself": {
    packages: { "@apollo/server": "5.5.1", graphql: "16.15.0" },
    app: `import { ApolloServer } from "@apollo/server";
import { startStandaloneServer } from "@apollo/server/standalone";
const server = new ApolloServer({
  typeDefs: "type Query { hello: String }",
  resolvers: { Query: { hello: () => "world" } },
  csrfPrevention: false,
});
const { url } = await startStandaloneServer(server, { listen: { port: 4000 } });
console.log("at", url);`,
    path: "/?query=%7Bhello%7D",
    answer: /"hello":"world"/,
  },
  "Markdown pages with front matter": {
    config: { unveil: { "./content": "r" } },
    packages: { ...HONO, "gray-matter": "4.0.3", marked: "18.2.1" },
    files: { "content/hello.md": "---\ntitle: hello\n---\n# world\n" },
    app: `import { readdir, readFile } from "node:fs/promises";
import matter from "gray-matter";
import { Hono } from "hono";
import { marked } from "marked";
const app = new Hono();
app.get("/", async (c) => {
  const [first] = await readdir("content");
  const { data, content } = matter(await readFile("content/" + first, "utf8"));
  return c.html(data.title + marked.parse(content));
});
export default app;`,
    answer: /^hello<h1>world<\/h1>/,
  },
  "a JSON file as a database, by lowdb": {
    config: { unveil: { "./data/": "rwc" } },
    packages: { ...HONO, lowdb: "7.0.1" },
    app: `import { Hono } from "hono";
import { JSONFilePreset } from "lowdb/node";
const db = await JSONFilePreset("data/db.json", { starts: 0 });
// Of two processes that write at once one loses its file: during a reload there are two.
await db.update((data) => data.starts++);
const app = new Hono();
app.get("/", (c) => c.text("hello " + db.data.starts));
export default app;`,
    answer: /^hello \d+$/,
  },
  "winston, which writes its log into a file": {
    config: { unveil: { "./logs/": "rwc" } },
    packages: { winston: "3.19.0" },
    app: `import winston from "winston";
const logger = winston.createLogger({
  transports: [new winston.transports.Console(), new winston.transports.File({ filename: "logs/app.log" })],
});
export default { fetch: () => { logger.info("asked"); return new Response("hello"); } };`,
  },
  "i18next with translations in files": {
    config: { unveil: { "./locales": "r" } },
    packages: { i18next: "27.1.5", "i18next-fs-backend": "2.6.10" },
    files: { "locales/en.json": json({ greeting: "hello {{name}}" }) },
    app: `import i18next from "i18next";
import Backend from "i18next-fs-backend";
await i18next.use(Backend).init({ lng: "en", fallbackLng: "en", backend: { loadPath: "locales/{{lng}}.json" } });
export default { fetch: () => new Response(i18next.t("greeting", { name: "world" })) };`,
    answer: /^hello world$/,
  },
  "Eta templates from a folder": {
    config: { unveil: { "./views": "r" } },
    packages: { ...HONO, eta: "4.6.0" },
    files: { "views/index.eta": "hello <%= it.name %>" },
    app: `import { join } from "node:path";
import { Eta } from "eta";
import { Hono } from "hono";
const eta = new Eta({ views: join(import.meta.dirname, "views"), cache: true });
export default new Hono().get("/", (c) => c.html(eta.render("./index", { name: "world" })));`,
    answer: /^hello world$/,
  },
  "pages that are imported by a computed name": {
    files: {
      "deno.json": json({
        compilerOptions: { jsx: "react-jsx", jsxImportSource: "hono/jsx" },
        imports: { hono: "npm:hono@4.13.19", "hono/": "npm:/hono@4.13.19/" },
      }),
      "pages/home.tsx": `export default () => <p>hello</p>;`,
    },
    app: `export default { async fetch(request) {
  const name = new URL(request.url).searchParams.get("page") ?? "home";
  const { default: Page } = await import("./pages/" + name + ".tsx");
  return new Response(String(Page()), { headers: { "content-type": "text/html" } });
} };`,
    answer: /^<p>hello<\/p>$/,
  },
};
