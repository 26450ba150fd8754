/** A database on its socket, which the kernel tells who asks. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ANYTHING, HELPER_MODULE } from "../harness/helpers.ts";
import { testWith } from "../harness/needs.ts";
import { POSTGRES, Postgres } from "../harness/postgres.ts";
import { Server } from "../harness/server.ts";
import { idsOf, openProject } from "../harness/unix_server.ts";
import { sleep, until } from "../harness/wait.ts";

/** Between two requests of a client: it is no test of speed. */
const THINK_MS = 20;

/** Answers with who it is to the database: the app by postgres.js, `/helper` by pg, `/other` as another one. */
const app = (path: string) => `
import postgres from "postgres";
import { helper } from ${JSON.stringify(HELPER_MODULE)};
const sql = (username) => postgres({ path: "${path}", database: "postgres", username, max: 2 });
const own = sql("nobody");
const WHO = "select current_user as who";
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    try {
      if (pathname === "/helper") return new Response(await helper("job").who("app_job"));
      if (pathname === "/pid") return new Response(await helper("job").pid());
      const [{ who }] = await (pathname === "/other" ? sql("postgres") : own).unsafe(WHO);
      return new Response(who);
    } catch (error) {
      return new Response(error.message, { status: 500 });
    }
  },
};
export const close = () => own.end();
`;

const job = (folder: string) => `
import pg from "pg";
const anything = ${ANYTHING};
const method = (handle) => ({ input: anything, output: anything, handle });
export default {
  pid: method(() => String(Deno.pid)),
  who: method(async (user) => {
    const client = new pg.Client({ host: "${folder}", database: "postgres", user });
    await client.connect();
    try {
      return (await client.query("select current_user as who")).rows[0].who;
    } finally {
      await client.end();
    }
  }),
};
`;

testWith(
  POSTGRES,
  "PostgreSQL knows a worker and a helper by their users, over reloads and an upgrade, and no query is lost",
  async () => {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_postgres_" }));
    await Deno.chmod(folder, 0o755);
    const socket = Postgres.socketIn(folder);
    const imports = { postgres: "npm:postgres@3.4.9", pg: "npm:pg@8.16.3" };
    const project = await openProject({
      files: {
        "app.js": app(socket),
        "job.js": job(folder),
        "deno.json": JSON.stringify({ imports }),
      },
      config: {
        app: "./app.js",
        user: "nobody",
        net: [`unix:${socket}`],
        helpers: { job: { module: "./job.js", net: [`unix:${socket}`] } },
        reload: { readyDeadlineMs: 60_000 },
      },
    });
    await using server = await Server.startOn(project);
    // The database comes up after its client: nothing is there before.
    assertMatch(await server.text("/"), /No such file|ENOENT/);
    const { uid } = idsOf(Number(await server.text("/pid")));
    await using _database = await Postgres.start(folder, ["nobody", "app_job"], { app_job: uid });

    const check = async () => {
      assertEquals(await server.text("/"), "nobody");
      assertEquals(await server.text("/helper"), "app_job");
    };
    await check();
    assertMatch(await server.text("/other"), /Peer authentication failed for user "postgres"/);
    assertEquals(server.eventsOf("dial_denied"), []);

    let going = true;
    let count = 0;
    const client = (async () => {
      for (; going; count++) {
        await check();
        await sleep(THINK_MS);
      }
    })();
    client.catch(() => {}); // Awaited below.
    try {
      for (let round = 0; round < 2; round++) {
        await project.write("app.js", `${app(socket)}\n// ${round}\n`);
        assertEquals((await server.hangUp()).event, "reload_done");
      }
      server.signal("SIGUSR2");
      await until("the upgrade", async () => {
        return await server.status().then(({ upgrades }) => upgrades === 1, () => false);
      });
      await server.waitFor("serving", 2);
    } finally {
      going = false;
    }
    await client;
    assert(count > 0);
    await check();
    assertEquals(server.eventsOf("dial_denied"), []);
  },
);
