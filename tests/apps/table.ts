/** Apps as their frameworks' documentation has them, each with what it needs and nothing else. */

import type { AppCase } from "../harness/apps.ts";

const HONO = { hono: "4.13.19" };

/** By what they are. */
export const APPS: Readonly<Record<string, AppCase>> = {
  "Hono, exported": {
    packages: HONO,
    app: `import { Hono } from "hono";
const app = new Hono();
app.get("/", (c) => c.text("hello"));
export default app;`,
  },
  "Hono's starter for Deno": {
    packages: HONO,
    app: `import { Hono } from "hono";
const app = new Hono();
app.get("/", (c) => c.text("hello"));
Deno.serve(app.fetch);`,
  },
  "Hono's starter for Node": {
    packages: { ...HONO, "@hono/node-server": "2.1.9" },
    app: `import { serve } from "@hono/node-server";
import { Hono } from "hono";
const app = new Hono();
app.get("/", (c) => c.text("hello"));
serve({ fetch: app.fetch, port: 3000 }, (info) => {
  console.log(\`Server is running on http://localhost:\${info.port}\`);
});`,
  },
  "Hono's starter for Bun": {
    packages: HONO,
    app: `import { Hono } from "hono";
const app = new Hono();
app.get("/", (c) => c.text("hello"));
export default { port: process.env.PORT || 3000, fetch: app.fetch };`,
  },
  "Hono with its cache": {
    packages: HONO,
    app: `import { Hono } from "hono";
import { cache } from "hono/cache";
const app = new Hono();
app.get("*", cache({ cacheName: "app", cacheControl: "max-age=60", wait: true }));
app.get("/", (c) => c.text("hello"));
export default app;`,
  },
  "Express": {
    packages: { express: "5.3.0" },
    app: `import express from "express";
const app = express();
app.use(express.json());
app.get("/", (req, res) => res.send("hello " + req.ip));
const server = app.listen(3000, () => console.log("Listening on", server.address()));
process.on("SIGTERM", () => server.close(() => process.exit(0)));`,
    answer: /^hello 127\.0\.0\.1$/,
  },
  "Fastify with its logger": {
    packages: { fastify: "5.12.8" },
    app: `import Fastify from "fastify";
const fastify = Fastify({ logger: true });
fastify.get("/", async (request) => ({ hello: request.ip }));
try {
  await fastify.listen({ port: 3000 });
} catch (error) {
  fastify.log.error(error);
  process.exit(1);
}`,
    answer: /^\{"hello":"127\.0\.0\.1"\}$/,
  },
  "Koa": {
    packages: { koa: "3.3.0" },
    app: `import Koa from "koa";
const app = new Koa();
app.use(async (ctx) => { ctx.body = "hello " + ctx.ip; });
app.listen(3000);`,
    answer: /^hello 127\.0\.0\.1$/,
  },
  "node:http": {
    app: `import { createServer } from "node:http";
const server = createServer((req, res) => {
  res.writeHead(200, { "Content-Type": "text/plain" });
  res.end("hello");
});
server.listen(3000, "127.0.0.1", () => console.log("Listening on 127.0.0.1:3000"));`,
  },
  "a handler as serverless platforms take it": {
    app: `export default function handler(req, res) { res.statusCode = 200; res.end("hello"); }`,
  },
  "Elysia": {
    packages: { elysia: "1.4.30" },
    app: `import { Elysia } from "elysia";
const app = new Elysia().get("/", () => "hello");
Deno.serve(app.fetch);`,
  },
  "itty-router": {
    packages: { "itty-router": "5.0.24" },
    app: `import { AutoRouter } from "itty-router";
const router = AutoRouter();
router.get("/", () => "hello");
export default router;`,
    answer: /hello/,
  },
  "H3, which starts its own server": {
    packages: { h3: "2.0.8" },
    app: `import { H3, serve } from "h3";
const app = new H3().get("/", () => "hello");
serve(app, { port: 3000 });`,
  },
  "GraphQL Yoga": {
    packages: { graphql: "16.15.0", "graphql-yoga": "5.24.1" },
    app: `import { createServer } from "node:http";
import { createSchema, createYoga } from "graphql-yoga";
const yoga = createYoga({
  schema: createSchema({
    typeDefs: "type Query { hello: String }",
    resolvers: { Query: { hello: () => "world" } },
  }),
});
createServer(yoga).listen(4000);`,
    path: "/graphql?query=%7Bhello%7D",
    answer: /"hello":"world"/,
  },
  "tRPC on its own server": {
    packages: { "@trpc/server": "11.25.2" },
    app: `import { createHTTPServer } from "@trpc/server/adapters/standalone";
import { initTRPC } from "@trpc/server";
const t = initTRPC.create();
const router = t.router({ hello: t.procedure.query(() => "world") });
createHTTPServer({ router }).listen(3000);`,
    path: "/hello",
    answer: /"world"/,
  },
  "ws beside node:http": {
    packages: { ws: "8.23.0" },
    app: `import { createServer } from "node:http";
import { WebSocketServer } from "ws";
const server = createServer((req, res) => res.end("hello"));
new WebSocketServer({ server }).on("connection", (socket) =>
  socket.on("message", (message) => socket.send("echo " + message)));
server.listen(8080);`,
  },
  "pino": {
    packages: { pino: "10.4.0" },
    app: `import pino from "pino";
const log = pino();
export default { fetch(request) { log.info({ url: request.url }, "asked"); return new Response("hello"); } };`,
  },
  "dotenv": {
    packages: { dotenv: "18.0.10" },
    config: { env: ["GREETING"], envFile: "./.env" },
    files: { ".env": "GREETING=hello\n" },
    app: `import "dotenv/config";
export default { fetch: () => new Response(process.env.GREETING + " " + process.env.NODE_ENV) };`,
    answer: /^hello production$/,
    refusal: /^Refused: (env GREETING|read .*\/\.env)$/,
  },
  "React on the server": {
    packages: { react: "19.3.1", "react-dom": "19.3.1" },
    app: `import { createElement } from "react";
import { renderToReadableStream } from "react-dom/server";
const page = createElement("html", null, createElement("body", null, "hello"));
export default {
  fetch: async () => new Response(await renderToReadableStream(page), { headers: { "content-type": "text/html" } }),
};`,
    answer: /<body>hello<\/body>/,
  },
  "better-auth on node:sqlite": {
    packages: { ...HONO, "better-auth": "1.7.25" },
    config: { unveil: { "./data/": "rwc" } },
    refusal: /"?unveil"?/,
    app: `import { DatabaseSync } from "node:sqlite";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { Hono } from "hono";
const auth = betterAuth({
  database: new DatabaseSync("./data/auth.sqlite"),
  secret: "0123456789012345678901234567890123456789",
  baseURL: "http://localhost:3000",
  emailAndPassword: { enabled: true },
  // The test asks more often than people do.
  rateLimit: { enabled: false },
});
export async function open() {
  await (await getMigrations(auth.options)).runMigrations();
}
const app = new Hono();
app.on(["GET", "POST"], "/api/auth/*", (c) => auth.handler(c.req.raw));
export default app;`,
    path: "/api/auth/ok",
    answer: /"ok":true/,
  },
  "Hono's starter for Workers": {
    packages: HONO,
    app: `import { Hono } from "hono";
const app = new Hono();
app.get("/", (c) => c.text("hello " + typeof c.env));
export default app;`,
  },
  "Hono with its JSX, streamed": {
    packages: HONO,
    files: {
      "deno.json": JSON.stringify({
        imports: { "hono": "npm:hono@4.13.19", "hono/": "npm:/hono@4.13.19/" },
        compilerOptions: { jsx: "react-jsx", jsxImportSource: "hono/jsx" },
      }),
      "page.tsx": `import { Suspense } from "hono/jsx/streaming";
const Late = async () => <p>{await Promise.resolve("hello")}</p>;
export const Page = () => <main><Suspense fallback={<p>wait</p>}><Late /></Suspense></main>;`,
    },
    app: `import { Hono } from "hono";
import { renderToReadableStream } from "hono/jsx/streaming";
import { Page } from "./page.tsx";
const app = new Hono();
app.get("/", (c) => c.body(renderToReadableStream(Page()), 200, { "content-type": "text/html" }));
export default app;`,
    answer: /hello/,
  },
  "Hono with zod": {
    packages: { ...HONO, zod: "4.6.7", "@hono/zod-validator": "0.9.1" },
    app: `import { zValidator } from "@hono/zod-validator";
import { Hono } from "hono";
import * as z from "zod";
const app = new Hono();
app.get("/", zValidator("query", z.object({ name: z.string() })), (c) =>
  c.text("hello " + c.req.valid("query").name));
export default app;`,
    path: "/?name=world",
    answer: /^hello world$/,
  },
  "Hono with static files": {
    packages: HONO,
    config: { unveil: { "./static": "r" } },
    files: { "static/hello.txt": "hello from a file" },
    app: `import { Hono } from "hono";
import { serveStatic } from "hono/deno";
const app = new Hono();
app.use("/static/*", serveStatic({ root: "./" }));
export default app;`,
    path: "/static/hello.txt",
  },
  "React Router's handler on Hono": {
    packages: { ...HONO, react: "19.3.1", "react-dom": "19.3.1", "react-router": "7.10.1" },
    app: `import { Hono } from "hono";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { createStaticHandler, createStaticRouter, StaticRouterProvider } from "react-router";
const routes = [{ path: "/", loader: () => "hello", Component: () => createElement("p", null, "hello") }];
const { query, dataRoutes } = createStaticHandler(routes);
const app = new Hono();
app.get("/", async (c) => {
  const context = await query(c.req.raw);
  const router = createStaticRouter(dataRoutes, context);
  return c.html(renderToString(createElement(StaticRouterProvider, { router, context })));
});
export default app;`,
    answer: /<p>hello<\/p>/,
  },
  "NestJS": {
    packages: {
      "@nestjs/common": "11.1.9",
      "@nestjs/core": "11.1.9",
      "@nestjs/platform-express": "11.1.9",
      "reflect-metadata": "0.2.2",
      rxjs: "7.8.2",
    },
    app: `import "reflect-metadata";
import { Controller, Get, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { ExpressAdapter } from "@nestjs/platform-express";
class Hello { hello() { return "hello"; } }
Get()(Hello.prototype, "hello", Object.getOwnPropertyDescriptor(Hello.prototype, "hello"));
Controller()(Hello);
class App {}
Module({ controllers: [Hello] })(App);
const app = await NestFactory.create(App, new ExpressAdapter());
app.enableShutdownHooks();
await app.listen(3000);`,
  },
  "Socket.IO beside Express": {
    packages: { express: "5.3.0", "socket.io": "4.8.4" },
    app: `import { createServer } from "node:http";
import express from "express";
import { Server } from "socket.io";
const server = createServer(express());
const io = new Server(server);
io.on("connection", (socket) => socket.emit("hello"));
server.listen(3000);`,
    path: "/socket.io/?EIO=4&transport=polling",
    answer: /"sid":/,
  },
  "Express with a session and compression": {
    packages: { express: "5.3.0", "express-session": "1.19.0", compression: "1.8.2" },
    app: `import compression from "compression";
import express from "express";
import session from "express-session";
const app = express();
app.use(compression());
app.use(session({ secret: "secret", resave: false, saveUninitialized: true }));
app.get("/", (request, response) => response.send("hello " + typeof request.sessionID));
app.listen(3000);`,
    answer: /^hello string$/,
  },
  "Express that takes uploads": {
    packages: { express: "5.3.0", multer: "2.5.0" },
    config: { tmp: true },
    app: `import { readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import express from "express";
import multer from "multer";
const upload = multer({ dest: tmpdir() });
const app = express();
app.post("/", upload.single("photo"), (request, response) => response.send(request.file.path));
app.get("/", (request, response) => {
  writeFileSync(tmpdir() + "/kept", "x");
  response.send("hello " + readdirSync(tmpdir()).length);
});
app.listen(3000);`,
    answer: /^hello 1$/,
  },
  "hapi": {
    packages: { "@hapi/hapi": "21.4.10" },
    app: `import Hapi from "@hapi/hapi";
const server = Hapi.server({ port: 3000, host: "localhost" });
server.route({ method: "GET", path: "/", handler: () => "hello" });
await server.start();`,
  },
  "Polka with sirv": {
    packages: { polka: "0.5.2", sirv: "3.0.2" },
    config: { unveil: { "./public": "r" } },
    files: { "public/hello.txt": "hello from a file" },
    app: `import polka from "polka";
import sirv from "sirv";
polka().use(sirv("public")).listen(3000);`,
    path: "/hello.txt",
  },
  "Preact on the server": {
    packages: { preact: "10.28.0", "preact-render-to-string": "6.6.3" },
    app: `import { h } from "preact";
import { render } from "preact-render-to-string";
Deno.serve(() => new Response(render(h("p", null, "hello")), { headers: { "content-type": "text/html" } }));`,
    answer: /^<p>hello<\/p>$/,
  },
  "Vue on the server": {
    packages: { vue: "3.5.45", "@vue/server-renderer": "3.5.45" },
    app: `import { createSSRApp, h } from "vue";
import { renderToString } from "@vue/server-renderer";
export default { async fetch() {
  return new Response(await renderToString(createSSRApp({ render: () => h("p", "hello") })));
} };`,
    answer: /^<p>hello<\/p>$/,
  },
  "Sentry around Hono": {
    packages: { ...HONO, "@sentry/deno": "10.75.2" },
    app: `import * as Sentry from "@sentry/deno";
import { Hono } from "hono";
Sentry.init({ dsn: "https://key@127.0.0.1/1", transport: () => ({ send: async () => ({}), flush: async () => true }) });
const app = new Hono();
app.get("/", (c) => c.text("hello " + typeof Sentry.captureException(new Error("seen"))));
export default app;`,
    answer: /^hello string$/,
  },
  "jsdom, which ships files": {
    packages: { jsdom: "26.1.0" },
    app: `import { JSDOM } from "jsdom";
export default { fetch: () => new Response(new JSDOM("<p>hello</p>").window.document.querySelector("p").textContent) };`,
  },
  "sql.js, which ships WebAssembly": {
    packages: { "sql.js": "1.13.0" },
    app: `import initSqlJs from "sql.js";
const { Database } = await initSqlJs();
const db = new Database();
export default { fetch: () => new Response(db.exec("select 'hello'")[0].values[0][0]) };`,
  },
  "a notebook on node:sqlite": {
    config: { unveil: { "./data/": "rwc" } },
    app: `import { DatabaseSync } from "node:sqlite";
const db = new DatabaseSync("./data/notes.sqlite");
db.exec("create table if not exists notes (text text)");
export default { fetch: () => new Response("hello " + db.prepare("select count(*) as n from notes").get().n) };`,
    answer: /^hello 0$/,
    refusal: /"?unveil"?/,
  },
  "a page that asks another server": {
    config: { net: ["127.0.0.1:7999"] },
    app: `export default { async fetch() {
  const found = await fetch("http://127.0.0.1:7999/").catch((error) => error);
  return new Response(found.name === "NotCapable" ? found.message : "hello");
} };`,
  },
  "a secret in a variable": {
    config: { env: { TOKEN: "hello" } },
    app: `if (process.env.TOKEN === undefined) console.warn("no TOKEN");
export default { fetch: () => new Response(process.env.TOKEN ?? "none") };`,
  },
};
