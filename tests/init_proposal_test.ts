/** What `holdfast init` proposes for projects as people have them: which module is the app, and what it needs. */
import { assertEquals } from "@std/assert";
import { dirname, join } from "node:path";
import { type Found, inspect } from "../lib/init/inspect.ts";

type Proposed = Partial<
  Pick<Found, "app" | "port" | "unveil" | "tmp" | "net" | "env" | "misplaced">
>;

interface Case extends Proposed {
  readonly files: Readonly<Record<string, string>>;
}

const scripts = (all: Record<string, string>) => JSON.stringify({ scripts: all });
const LISTENS = "app.listen(3000);";

/** By what is to be seen in them; what is not said of one is not looked at. */
const CASES: Readonly<Record<string, Case>> = {
  "a script that runs a folder": {
    files: {
      "package.json": scripts({ "dev:server": "tsx watch src/server" }),
      "src/server/index.ts": "",
    },
    app: "src/server/index.ts",
  },
  "a script without an ending": {
    files: {
      "package.json": scripts({ start: "node index" }),
      "index.js": LISTENS,
      "server.js": "",
    },
    app: "index.js",
  },
  "a build that was not made": {
    files: {
      "package.json": scripts({
        start: "npm run build && node ./dist/index.js",
        dev: "tsx src/main.ts",
      }),
      "src/main.ts": LISTENS,
      "src/index.ts": "",
    },
    app: "src/main.ts",
  },
  "a script of the server, and one of the browser's part": {
    files: {
      "package.json": scripts({
        "start:client": "node client.js",
        "start:dev": "node --import=tsx --watch src/index.ts",
      }),
      "client.js": LISTENS,
      "src/server.ts": "export const app = 1;",
      "src/index.ts": "",
    },
    app: "src/index.ts",
  },
  "of two usual names the one that serves": {
    files: { "src/server.ts": "export const app = express();", "src/index.ts": LISTENS },
    app: "src/index.ts",
  },
  "a script that runs a file without an ending, beside a module that exports the app": {
    files: {
      "package.json": scripts({ start: "node ./bin/www" }),
      "bin/www": "#!/usr/bin/env node\nhttp.createServer(app).listen(3000)",
      "app.js": "module.exports = app;",
    },
    app: "app.js",
  },
  "another name, which alone starts a server": {
    files: {
      "hello.ts": "Deno.serve(() => new Response('hi'));\nserve(app)",
      "words.ts": "export const a = 1;",
    },
    app: "hello.ts",
  },
  "several that start one": {
    files: { "a.ts": LISTENS, "b.ts": LISTENS },
    app: undefined,
  },
  "files and folders beside a module, and in the working folder": {
    files: {
      "src/index.ts": [
        "res.sendFile(__dirname + '/page.html'); join(import.meta.dirname, '..', 'texts')",
        "new URL('./words.json', import.meta.url); serveStatic({ root: './web' }); readFileSync('notes.md')",
        "app.set('views', `${__dirname}/pages`); readFileSync('absent.md'); join(__dirname, 'package.json')",
        "import x from './other.ts'; express.static('../outside')",
      ].join("\n"),
      ...{
        "src/page.html": "",
        "texts/a.txt": "",
        "src/words.json": "",
        "web/a.css": "",
        "notes.md": "",
      },
      ...{ "src/pages/a.html": "", "src/package.json": "{}", "src/other.ts": "" },
    },
    unveil: {
      "./src/page.html": "r",
      "./texts/": "r",
      "./src/pages/": "r",
      "./src/words.json": "r",
      "./web/": "r",
      "./notes.md": "r",
    },
  },
  "a folder of modules that a package loads": {
    files: {
      "package.json": scripts({ start: "node server.js" }),
      "server.js": "fastify.register(autoload, { dir: join(import.meta.dirname, 'plugins') });",
      "plugins/a.js": "export default () => {};",
    },
    unveil: { "./package.json": "r", "./plugins/": "r" },
  },
  "folders that are written, and what is written beside code": {
    files: {
      "main.ts":
        "new DatabaseSync('store/app.db'); multer({ dest: 'uploads/' }); new Database('app.sqlite');",
      "lib/db.ts": "new Database('lib/more.db')",
      "public/a.css": "",
      "public/a/b.js": "fetch('https://for.the.browser.test')",
      "db/index.ts": "",
    },
    unveil: { "./public/": "r", "./store/": "rwc", "./uploads/": "rwc" },
    misplaced: ["app.sqlite", "lib/more.db"],
    net: [],
  },
  "hosts that are asked, and those that are only linked": {
    files: {
      "main.ts": [
        "await fetch('https://api.github.com/users'); axios.get(`http://10.0.0.1:9000/x`)",
        "const API = 'https://api.stripe.com/v1'; await fetch(`${API}/charges`);",
        "const link = 'https://hono.dev'; html('<a href=\"https://nodejs.org\">')",
        "postgres('postgres://me:secret@db.internal/shop'); fetch('http://testing/x')",
      ].join("\n"),
      ".env": "REDIS_URL=redis://localhost\nOTHER=https://example.com",
    },
    net: [
      "10.0.0.1:9000",
      "api.github.com:443",
      "api.stripe.com:443",
      "db.internal:5432",
      "localhost:6379",
    ],
  },
  "variables by each way to name them": {
    files: {
      "main.ts": [
        "process.env.ONE; process.env['TWO']; Deno.env.get('THREE'); Bun.env.FOUR; process.env.PORT",
        "const { FIVE, SIX: six, SEVEN = 'x' } = process.env;",
      ].join("\n"),
      "env.ts": "z.object({\n  EIGHT: z.string(),\n  NODE_ENV: z.string(),\n}).parse(process.env)",
      "constants.ts": "export const all = {\n  NOT_ONE: 1,\n};",
      ".env.example": "# a comment\nNINE=1\nexport TEN=2\n",
      "main.test.ts": "process.env.OF_A_TEST",
    },
    env: ["EIGHT", "FIVE", "FOUR", "NINE", "ONE", "SEVEN", "SIX", "TEN", "THREE", "TWO"],
  },
  "what needs a folder for temporary files": {
    files: { "main.js": 'const body = require("koa-body");' },
    tmp: true,
  },
  "the port of the app before that of others": {
    files: { "a.ts": "app.listen(4001)", "main.ts": "const port = process.env.PORT || 4002;" },
    port: 4002,
  },
};

Deno.test("init proposes the module that is the app, and what its code names", async (t) => {
  for (const [name, { files, ...proposed }] of Object.entries(CASES)) {
    await t.step(name, async () => {
      const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
      try {
        for (const [path, text] of Object.entries(files)) {
          await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
          await Deno.writeTextFile(join(folder, path), text);
        }
        const found: Record<string, unknown> = { ...inspect(folder) };
        for (const [key, value] of Object.entries(proposed)) assertEquals(found[key], value, key);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    });
  }
});
