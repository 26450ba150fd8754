/** The packages that servers use most, each with one small use of it. */

/** One of them. */
export interface PackageCase {
  readonly version: string;
  /** The body of an async function, which imports it and returns what it came to. */
  readonly use: string;
  readonly answer: unknown;
}

/** By their names on npm. */
export const PACKAGES: Readonly<Record<string, PackageCase>> = {
  "express": {
    version: "5.3.0",
    use: `const { default: express } = await import("express");
      const app = express();
      app.use(express.json());
      app.get("/:id", (request, response) => response.json(request.params));
      return app.router.stack.length;`,
    answer: 2,
  },
  "koa": {
    version: "3.2.1",
    use: `const { default: Koa } = await import("koa");
      const app = new Koa();
      app.use((context) => context.body = "hello");
      return typeof app.callback();`,
    answer: "function",
  },
  "fastify": {
    version: "5.12.8",
    use: `const { default: fastify } = await import("fastify");
      const app = fastify({ logger: true });
      app.get("/", () => ({ hello: "world" }));
      return (await app.inject("/")).json();`,
    answer: { hello: "world" },
  },
  "lodash": {
    version: "4.18.1",
    use: `const { default: _ } = await import("lodash");
      return _.groupBy([1, 2, 3], (n) => n % 2 ? "odd" : "even");`,
    answer: { odd: [1, 3], even: [2] },
  },
  "axios": {
    version: "1.21.1",
    use: `const { default: axios } = await import("axios");
      return axios.getUri({ url: "/a", params: { b: 1 } });`,
    answer: "/a?b=1",
  },
  "undici": {
    version: "7.16.0",
    use: `const { Headers } = await import("undici");
      return new Headers({ A: "b" }).get("a");`,
    answer: "b",
  },
  "node-fetch": {
    version: "3.3.2",
    use: `const { Response } = await import("node-fetch");
      return await new Response("hello").text();`,
    answer: "hello",
  },
  "dotenv": {
    version: "18.0.10",
    use: `const { parse } = await import("dotenv");
      return parse("A=b");`,
    answer: { A: "b" },
  },
  "uuid": {
    version: "14.0.3",
    use: `const { validate, v7 } = await import("uuid");
      return validate(v7());`,
    answer: true,
  },
  "nanoid": {
    version: "6.0.2",
    use: `return (await import("nanoid")).nanoid(10).length;`,
    answer: 10,
  },
  "jsonwebtoken": {
    version: "9.0.3",
    use: `const { default: jwt } = await import("jsonwebtoken");
      return jwt.verify(jwt.sign({ a: 1 }, "secret", { noTimestamp: true }), "secret");`,
    answer: { a: 1 },
  },
  "jose": {
    version: "6.2.17",
    use: `const { SignJWT, jwtVerify } = await import("jose");
      const key = new TextEncoder().encode("0".repeat(32));
      const token = await new SignJWT({ a: 1 }).setProtectedHeader({ alg: "HS256" }).sign(key);
      return (await jwtVerify(token, key)).payload;`,
    answer: { a: 1 },
  },
  "bcryptjs": {
    version: "3.0.3",
    use: `const { default: bcrypt } = await import("bcryptjs");
      return await bcrypt.compare("word", await bcrypt.hash("word", 4));`,
    answer: true,
  },
  "zod": {
    version: "4.6.7",
    use: `const { z } = await import("zod");
      return z.object({ a: z.coerce.number() }).parse({ a: "1" });`,
    answer: { a: 1 },
  },
  "ajv": {
    version: "8.20.0",
    use: `const { default: Ajv } = await import("ajv");
      return new Ajv().compile({ type: "number" })(1);`,
    answer: true,
  },
  "joi": {
    version: "18.3.2",
    use: `const { default: joi } = await import("joi");
      return joi.number().validate("1").value;`,
    answer: 1,
  },
  "yup": {
    version: "1.7.1",
    use: `return await (await import("yup")).number().validate("1");`,
    answer: 1,
  },
  "dayjs": {
    version: "1.11.23",
    use:
      `return (await import("dayjs")).default("2026-01-31").add(1, "month").format("YYYY-MM-DD");`,
    answer: "2026-02-28",
  },
  "date-fns": {
    version: "4.4.0",
    use: `return (await import("date-fns")).format(new Date(2026, 0, 2), "yyyy-MM-dd");`,
    answer: "2026-01-02",
  },
  "luxon": {
    version: "3.7.2",
    use: `return (await import("luxon")).DateTime.fromISO("2026-01-02").toISODate();`,
    answer: "2026-01-02",
  },
  "moment": {
    version: "2.31.0",
    use: `return (await import("moment")).default("2026-01-02").format("DD.MM.YYYY");`,
    answer: "02.01.2026",
  },
  "winston": {
    version: "3.19.0",
    use: `const { default: winston } = await import("winston");
      winston.createLogger({ transports: [new winston.transports.Console()] }).info("hello");
      return "said";`,
    answer: "said",
  },
  "pino": {
    version: "10.4.0",
    use: `(await import("pino")).default().info("hello");
      return "said";`,
    answer: "said",
  },
  "morgan": {
    version: "1.12.1",
    use: `return typeof (await import("morgan")).default("combined");`,
    answer: "function",
  },
  "cors": {
    version: "2.8.6",
    use: `return typeof (await import("cors")).default({ origin: "https://example.com" });`,
    answer: "function",
  },
  "helmet": {
    version: "8.3.0",
    use: `return typeof (await import("helmet")).default();`,
    answer: "function",
  },
  "body-parser": {
    version: "2.4.0",
    use: `return typeof (await import("body-parser")).default.json();`,
    answer: "function",
  },
  "cookie": {
    version: "1.1.1",
    use: `return (await import("cookie")).serialize("a", "b c");`,
    answer: "a=b%20c",
  },
  "multer": {
    version: "2.5.0",
    use: `const { default: multer } = await import("multer");
      return typeof multer({ storage: multer.memoryStorage() }).single("photo");`,
    answer: "function",
  },
  "busboy": {
    version: "1.6.0",
    use: `const { default: busboy } = await import("busboy");
      const fields = {};
      await new Promise((resolve, reject) => {
        const parser = busboy({ headers: { "content-type": "application/x-www-form-urlencoded" } });
        parser.on("field", (name, value) => fields[name] = value).on("close", resolve).on("error", reject);
        parser.end("a=b&c=d");
      });
      return fields;`,
    answer: { a: "b", c: "d" },
  },
  "formidable": {
    version: "3.5.4",
    use: `return typeof (await import("formidable")).default({ maxFiles: 1 }).parse;`,
    answer: "function",
  },
  "ejs": {
    version: "3.1.10",
    use: `return (await import("ejs")).default.render("<b><%= a %></b>", { a: "<" });`,
    answer: "<b>&lt;</b>",
  },
  "handlebars": {
    version: "4.7.10",
    use: `return (await import("handlebars")).default.compile("{{a}}")({ a: "b" });`,
    answer: "b",
  },
  "pug": {
    version: "3.0.4",
    use: `return (await import("pug")).default.render("p= a", { a: "b" });`,
    answer: "<p>b</p>",
  },
  "marked": {
    version: "18.2.1",
    use: `return (await import("marked")).marked.parse("**a**").trim();`,
    answer: "<p><strong>a</strong></p>",
  },
  "mongodb": {
    version: "7.8.0",
    use: `const { MongoClient, ObjectId } = await import("mongodb");
      new MongoClient("mongodb://127.0.0.1:27017").db("a").collection("b");
      return new ObjectId("0".repeat(24)).toHexString();`,
    answer: "0".repeat(24),
  },
  "pg": {
    version: "8.23.1",
    use: `const { default: pg } = await import("pg");
      return new pg.Pool({ host: "127.0.0.1" }).totalCount;`,
    answer: 0,
  },
  "mysql2": {
    version: "3.24.5",
    use: `const { default: mysql } = await import("mysql2/promise");
      mysql.createPool({ host: "127.0.0.1" });
      return mysql.format("select ?", ["it's"]);`,
    answer: "select 'it\\'s'",
  },
  "ioredis": {
    version: "5.8.2",
    use: `const { Redis } = await import("ioredis");
      return new Redis({ host: "127.0.0.1", lazyConnect: true }).status;`,
    answer: "wait",
  },
  "knex": {
    version: "3.3.0",
    use: `return (await import("knex")).default({ client: "pg" })("a").where({ b: 1 }).toString();`,
    answer: `select * from "a" where "b" = 1`,
  },
  "drizzle-orm": {
    version: "0.45.4",
    use: `const { sql } = await import("drizzle-orm");
      const { PgDialect } = await import("drizzle-orm/pg-core");
      return new PgDialect().sqlToQuery(sql\`select \${1}\`).sql;`,
    answer: "select $1",
  },
  "kysely": {
    version: "0.29.9",
    use:
      `const { DummyDriver, Kysely, PostgresAdapter, PostgresIntrospector, PostgresQueryCompiler } =
        await import("kysely");
      const db = new Kysely({ dialect: {
        createAdapter: () => new PostgresAdapter(),
        createDriver: () => new DummyDriver(),
        createIntrospector: (db) => new PostgresIntrospector(db),
        createQueryCompiler: () => new PostgresQueryCompiler(),
      } });
      return db.selectFrom("a").selectAll().compile().sql;`,
    answer: `select * from "a"`,
  },
  "graphql": {
    version: "16.15.0",
    use: `const { buildSchema, graphql } = await import("graphql");
      const schema = buildSchema("type Query { hello: String }");
      return { ...(await graphql({ schema, source: "{ hello }", rootValue: { hello: "world" } })).data };`,
    answer: { hello: "world" },
  },
  "socket.io": {
    version: "4.8.4",
    use: `const { Server } = await import("socket.io");
      return new Server().of("/chat").name;`,
    answer: "/chat",
  },
  "ws": {
    version: "8.23.0",
    use: `const { WebSocketServer } = await import("ws");
      return new WebSocketServer({ noServer: true }).clients.size;`,
    answer: 0,
  },
  "nodemailer": {
    version: "7.0.11",
    use: `const { default: nodemailer } = await import("nodemailer");
      const transport = nodemailer.createTransport({ jsonTransport: true });
      const { message } = await transport.sendMail({ from: "a@example.com", to: "b@example.com", text: "c" });
      return JSON.parse(message).text;`,
    answer: "c",
  },
  "stripe": {
    version: "20.0.0",
    use: `const { default: Stripe } = await import("stripe");
      return typeof new Stripe("sk_test_1").customers.create;`,
    answer: "function",
  },
  "openai": {
    version: "6.10.0",
    use: `const { default: OpenAI } = await import("openai");
      return new OpenAI({ apiKey: "key" }).baseURL;`,
    answer: "https://api.openai.com/v1",
  },
  "@aws-sdk/client-s3": {
    version: "3.946.0",
    use: `const { S3Client } = await import("@aws-sdk/client-s3");
      const credentials = { accessKeyId: "a", secretAccessKey: "b" };
      return await new S3Client({ region: "eu-central-1", credentials }).config.region();`,
    answer: "eu-central-1",
  },
  "@sentry/node": {
    version: "10.29.0",
    use: `const Sentry = await import("@sentry/node");
      Sentry.init({ dsn: "https://key@127.0.0.1/1", transport: () => ({ send: async () => ({}), flush: async () => true }) });
      return typeof Sentry.captureException(new Error("seen"));`,
    answer: "string",
  },
  "rxjs": {
    version: "7.8.2",
    use: `const { firstValueFrom, map, of } = await import("rxjs");
      return await firstValueFrom(of(1).pipe(map((n) => n + 1)));`,
    answer: 2,
  },
  "cheerio": {
    version: "1.2.0",
    use: `return (await import("cheerio")).load("<p>a</p>")("p").text();`,
    answer: "a",
  },
  "xml2js": {
    version: "0.6.2",
    use: `return (await (await import("xml2js")).parseStringPromise("<a>b</a>")).a;`,
    answer: "b",
  },
  "csv-parse": {
    version: "6.1.0",
    use: `return (await import("csv-parse/sync")).parse("a,b\\n1,2", { columns: true });`,
    answer: [{ a: "1", b: "2" }],
  },
  "archiver": {
    version: "7.0.1",
    use: `const { default: archiver } = await import("archiver");
      const archive = archiver("zip");
      archive.append("text", { name: "a.txt" });
      archive.finalize();
      const [first] = await archive.toArray();
      return first.subarray(0, 2).toString();`,
    answer: "PK",
  },
  "qs": {
    version: "6.17.1",
    use: `return (await import("qs")).default.parse("a[b]=c").a;`,
    answer: { b: "c" },
  },
  "semver": {
    version: "7.8.6",
    use: `return (await import("semver")).default.satisfies("1.2.3", "^1.0.0");`,
    answer: true,
  },
  "commander": {
    version: "14.0.2",
    use: `const { Command } = await import("commander");
      return new Command().option("-a, --all").parse(["--all"], { from: "user" }).opts();`,
    answer: { all: true },
  },
  "debug": {
    version: "4.4.3",
    use: `return typeof (await import("debug")).default("app").extend;`,
    answer: "function",
  },
  "chalk": {
    version: "5.6.2",
    use: `return (await import("chalk")).default.red("a").includes("a");`,
    answer: true,
  },
  "iconv-lite": {
    version: "0.7.3",
    use: `const { default: iconv } = await import("iconv-lite");
      return iconv.decode(Buffer.from([0xe4]), "latin1");`,
    answer: "ä",
  },
  "mime-types": {
    version: "3.0.2",
    use: `return (await import("mime-types")).default.lookup("a.png");`,
    answer: "image/png",
  },
  "jsdom": {
    version: "26.1.0",
    use: `const { JSDOM } = await import("jsdom");
      return new JSDOM("<p>a</p>").window.document.querySelector("p").textContent;`,
    answer: "a",
  },
  "sql.js": {
    version: "1.13.0",
    use: `const { default: initSqlJs } = await import("sql.js");
      const { Database } = await initSqlJs();
      return new Database().exec("select 1 as a")[0].values;`,
    answer: [[1]],
  },
  "@electric-sql/pglite": {
    version: "0.3.14",
    use: `const { PGlite } = await import("@electric-sql/pglite");
      const db = new PGlite();
      const { rows } = await db.query("select 1 as a");
      await db.close();
      return rows;`,
    answer: [{ a: 1 }],
  },
};
