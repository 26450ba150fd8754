/** Apps as their frameworks' documentation has them, each with what it needs and nothing else. */

/** One of them. */
export interface AppCase {
  readonly app: string;
  /** What it imports, of npm. */
  readonly packages?: Readonly<Record<string, string>>;
  /** Keys of the config besides `app` and `listen`: the fewest with which it runs. */
  readonly config?: Readonly<Record<string, unknown>>;
  readonly files?: Readonly<Record<string, string>>;
  /** @default "/" */
  readonly path?: string;
  /** The answer; `hello` by default. */
  readonly answer?: RegExp;
}

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
    app: `import "dotenv/config";
process.env.GREETING ??= "hello";
export default { fetch: () => new Response(process.env.GREETING + " " + process.env.NODE_ENV) };`,
    answer: /^hello production$/,
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
    app: `import { DatabaseSync } from "node:sqlite";
import { betterAuth } from "better-auth";
import { Hono } from "hono";
const auth = betterAuth({
  database: new DatabaseSync("./data/auth.sqlite"),
  secret: "0123456789012345678901234567890123456789",
  baseURL: "http://localhost:3000",
  emailAndPassword: { enabled: true },
});
const app = new Hono();
app.on(["GET", "POST"], "/api/auth/*", (c) => auth.handler(c.req.raw));
export default app;`,
    path: "/api/auth/ok",
    answer: /"ok":true/,
  },
  "Drizzle with postgres.js": {
    packages: { "drizzle-orm": "0.45.4", postgres: "3.4.9" },
    config: { env: { DATABASE_URL: "postgres://app@127.0.0.1:5432/app" } },
    app: `import { drizzle } from "drizzle-orm/postgres-js";
import { pgTable, serial, text } from "drizzle-orm/pg-core";
import postgres from "postgres";
const users = pgTable("users", { id: serial("id").primaryKey(), name: text("name") });
const db = drizzle(postgres(process.env.DATABASE_URL));
export default { fetch: () => new Response("hello " + db.select().from(users).toSQL().sql) };`,
    answer: /^hello select/,
  },
};
