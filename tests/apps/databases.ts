/** Apps on a real PostgreSQL, and apps whose packages bring native code. */
import type { AppCase } from "../harness/apps.ts";
import { ANYTHING } from "../harness/helpers.ts";

const DRIZZLE = { "drizzle-orm": "0.45.4", postgres: "3.4.9" };

/** Asks the database for one of its roles. */
const roles = (client: string) =>
  `import { eq } from "drizzle-orm";
import { drizzle } from "drizzle-orm/postgres-js";
import { pgSchema, text } from "drizzle-orm/pg-core";
import postgres from "postgres";
const roles = pgSchema("pg_catalog").table("pg_roles", { name: text("rolname") });
const client = ${client};
const db = drizzle(client);
export const close = () => client.end();
export default { async fetch() {
  const [{ name }] = await db.select().from(roles).where(eq(roles.name, "app"));
  return new Response("hello " + name);
} };`;

/** What runs on a database that listens on a port of loopback, and on a socket. */
export function databaseApps(port: number, socket: string): Record<string, AppCase> {
  const url = `postgres://app@127.0.0.1:${port}/postgres`;
  return {
    "Drizzle with postgres.js over TCP": {
      packages: DRIZZLE,
      config: { env: { DATABASE_URL: url }, net: [`127.0.0.1:${port}`] },
      app: `if (!process.env.DATABASE_URL) throw new Error("DATABASE_URL is not set");
${roles("postgres(process.env.DATABASE_URL, { max: 2 })")}`,
      answer: /^hello app$/,
    },
    "Drizzle with postgres.js over a Unix socket": {
      packages: DRIZZLE,
      config: { net: [`unix:${socket}`] },
      app: roles(
        `postgres({ path: "${socket}", database: "postgres", username: "root", max: 2 })`,
      ),
      answer: /^hello app$/,
      refusal: /"net": \["unix:[^"]*\.s\.PGSQL|a Unix socket that is dialled to "net"/,
    },
    "Express with a pool of node-postgres": {
      packages: { express: "5.3.0", pg: "8.16.3" },
      config: { net: [`127.0.0.1:${port}`] },
      app: `import express from "express";
import pg from "pg";
const pool = new pg.Pool({ connectionString: "${url}", max: 2 });
const app = express();
app.get("/", async (request, response) => {
  const { rows } = await pool.query("select $1::text as word", ["hello"]);
  response.send(rows[0].word);
});
const server = app.listen(3000);
process.on("SIGTERM", () => server.close(() => pool.end()));`,
    },
    "Kysely on node-postgres": {
      packages: { kysely: "0.28.8", pg: "8.16.3", hono: "4.13.19" },
      config: { net: [`127.0.0.1:${port}`] },
      app: `import { Hono } from "hono";
import { Kysely, PostgresDialect, sql } from "kysely";
import pg from "pg";
const db = new Kysely({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: "${url}", max: 2 }) }) });
const app = new Hono();
app.get("/", async (c) => c.text("hello " + (await sql\`select current_user as who\`.execute(db)).rows[0].who));
export default app;
export const close = () => db.destroy();`,
      answer: /^hello app$/,
    },
  };
}

const helperOf = (imports: string, method: string) =>
  `${imports}
const anything = ${ANYTHING};
export default { run: { input: anything, output: anything, retry: "safe", handle: ${method} } };`;

const asking = (name: string) =>
  `import { helper } from "holdfast/helper";
export default { fetch: async () => new Response("hello " + await helper("${name}").run("x")) };`;

/** Each calls a helper that loads native code. */
export const ADDONS: Readonly<Record<string, AppCase>> = {
  "sharp in a helper": {
    packages: { sharp: "0.34.5" },
    config: { helpers: { images: { module: "./images.js", native: true } } },
    files: {
      "images.js": helperOf(
        `import sharp from "sharp";`,
        `async () => {
          const red = { width: 64, height: 48, channels: 3, background: "red" };
          return (await sharp(await sharp({ create: red }).resize(32).webp().toBuffer()).metadata()).width;
        }`,
      ),
    },
    app: asking("images"),
    answer: /^hello 32$/,
    refusal: /add "helpers": \{ "images": \{ "module"/,
  },
  "SQLite of libSQL in a helper, in a file": {
    packages: { "@libsql/client": "0.15.15" },
    config: {
      helpers: {
        database: { module: "./database.js", native: true, unveil: { "./data/": "rwc" } },
      },
    },
    files: {
      "database.js": helperOf(
        `import { createClient } from "@libsql/client";
const client = createClient({ url: "file:data/notes.sqlite" });`,
        `async () => (await client.execute("select 'two' as word")).rows[0].word`,
      ),
    },
    app: asking("database"),
    answer: /^hello two$/,
    refusal: /add "helpers": \{ "database": \{ "module"/,
  },
  "argon2 in a helper": {
    packages: { "@node-rs/argon2": "2.0.2" },
    config: { helpers: { passwords: { module: "./passwords.js", native: true } } },
    files: {
      "passwords.js": helperOf(
        `import { hash, verify } from "@node-rs/argon2";`,
        `async (word) => await verify(await hash(word, { memoryCost: 1024, timeCost: 1 }), word)`,
      ),
    },
    app: asking("passwords"),
    answer: /^hello true$/,
    refusal: /add "helpers": \{ "passwords": \{ "module"/,
  },
};
