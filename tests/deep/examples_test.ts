/** The examples: each passes `check`, answers, and goes on over a reload. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { type Edits, Example } from "../harness/examples.ts";
import { MailServer } from "../harness/mail_server.ts";
import { type Needs, testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { POSTGRES, Postgres } from "../harness/postgres.ts";
import { ProcessLog } from "../harness/process_log.ts";
import { REPOSITORY } from "../harness/project.ts";
import type { Server } from "../harness/server.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

/** What is done with one of them, and what it takes. */
interface Case {
  readonly needs?: Needs;
  readonly edits?: Edits;
  /** Uses it; called before a reload, and after. */
  use(server: Server, time: number): Promise<void>;
}

const json = (body: unknown, method = "POST") => ({
  method,
  body: JSON.stringify(body),
  headers: { "content-type": "application/json" },
});

const MAIL_PORT = freePort();

/** Opens a chat, says something, and gives all that is heard, until that is. */
async function chat(server: Server, text: string): Promise<string[]> {
  const socket = new WebSocket(`${server.project.origin.replace("http", "ws")}/chat?after=0`);
  const heard: string[] = [];
  const all = new Promise<void>((resolve, reject) => {
    socket.onopen = () => socket.send(text);
    socket.onmessage = ({ data }) => {
      heard.push(JSON.parse(data).text);
      if (heard.at(-1) === text) resolve();
    };
    socket.onerror = () => reject(new Error(`The socket failed\n${server.log}`));
  });
  await all;
  const closed = new Promise((resolve) => socket.onclose = resolve);
  socket.close();
  await closed;
  return heard;
}

const CASES: Readonly<Record<string, Case>> = {
  hello: {
    async use(server) {
      assertEquals(await server.text("/"), "Hello");
    },
  },
  rest_sqlite: {
    async use(server, time) {
      const made = await server.get("/tasks", json({ title: `Task ${time}` }));
      const { id } = await made.json();
      assertEquals([made.status, made.headers.get("location")], [201, `/tasks/${id}`]);
      const done = await server.get(`/tasks/${id}`, json({ done: true }, "PATCH"));
      assertEquals(await done.json(), { id, title: `Task ${time}`, done: true });
      assertEquals(JSON.parse(await server.text("/tasks")).length, time);
      const other = await server.get("/tasks", json({ title: "Short-lived" }));
      const { id: gone } = await other.json();
      const removed = await server.get(`/tasks/${gone}`, { method: "DELETE" });
      assertEquals(removed.status, 204);
      const refused: [string, RequestInit, number][] = [
        ["/tasks", json({ title: "" }), 422],
        ["/tasks", { ...json({}), body: "{" }, 400],
        [`/tasks/${gone}`, {}, 404],
        ["/tasks/none", {}, 422],
      ];
      for (const [path, init, status] of refused) {
        const answer = await server.get(path, init);
        assertEquals([path, answer.status], [path, status], await answer.text());
      }
    },
  },
  react_ssr: {
    async use(server) {
      const page = await server.text("/?name=%3Cb%3EAda");
      assertMatch(
        page,
        /<h1>React on the server<\/h1>.*One moment.*Hello, (<!-- -->)?&lt;b&gt;Ada/s,
      );
    },
  },
  chat: {
    async use(server, time) {
      // Also what was said before the reload.
      assertEquals(await chat(server, `hello ${time}`), ["hello 1", "hello 2"].slice(0, time));
      assertMatch(await server.text("/"), /<h1>Chat<\/h1>/);
    },
  },
  mail_helper: {
    edits: [
      ["holdfast.jsonc", "127.0.0.1:1025", `127.0.0.1:${MAIL_PORT}`],
      ["mail.env", "127.0.0.1:1025", `127.0.0.1:${MAIL_PORT}`],
    ],
    async use(server) {
      const send = async (fields: Record<string, string>) => {
        const answer = await server.get("/", { method: "POST", body: new URLSearchParams(fields) });
        return [answer.status, await answer.text()];
      };
      const mail = { from: "ada@example.com", text: "A message" };
      assertEquals((await send(mail))[0], 503); // Nobody is there yet.
      await using inbox = new MailServer(MAIL_PORT);
      assertEquals(await send(mail), [200, "Thank you"]);
      const [sent] = inbox.mails;
      assertEquals([inbox.mails.length, sent?.to], [1, ["us@example.com"]]);
      assertMatch(sent!.text, /^Reply-To: ada@example\.com$[\s\S]*^A message$/m);
      // No visitor writes lines of the head, or to others.
      const evil = { ...mail, from: "ada@example.com\r\nBcc: all@example.com" };
      assertEquals((await send(evil))[0], 422);
      assertEquals(inbox.mails.length, 1);
    },
  },
};

for (const [name, { needs = {}, edits = [], use }] of Object.entries(CASES)) {
  testWith({ ...needs, builds: true }, `the example ${name} passes check and answers`, async () => {
    await using example = await Example.copy(name, edits);
    await using server = await example.start();
    await use(server, 1);
    const { outcome, reason } = await server.reload();
    assertEquals([outcome, reason], ["done", undefined]);
    await use(server, 2);
    for (const event of ["call_denied", "exec_denied", "worker_lost", "refused"]) {
      const warned = server.eventsOf(event).filter(({ level }) => level !== "info");
      assertEquals(warned, []);
    }
  });
}

testWith(
  { ...POSTGRES, programs: [...POSTGRES.programs, "haproxy"], builds: true },
  "the example postgres_two_hosts counts on two hosts behind HAProxy, over reloads and a stop",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
    await Deno.chmod(folder, 0o755);
    const [databasePort, webPort] = [freePort(), freePort()];
    await using database = await Postgres.start(folder, ["app"], {}, databasePort);
    await database.sql("create database app owner app");
    const hostEdits = (name: string): Edits => [
      ["holdfast.jsonc", "0.0.0.0:8000", "127.0.0.1:PORT"],
      ["holdfast.jsonc", "10.0.0.9:5432", `127.0.0.1:${databasePort}`],
      ["holdfast.jsonc", "10.0.0.1", "127.0.0.1"],
      ["host.env", "10.0.0.9:5432", `127.0.0.1:${databasePort}`],
      ["host.env", "HOST_NAME=one", `HOST_NAME=${name}`],
    ];
    await using first = await Example.copy("postgres_two_hosts", hostEdits("one"));
    await using second = await Example.copy("postgres_two_hosts", hostEdits("two"));
    await using one = await first.start();
    await using two = await second.start();
    const sample = join(REPOSITORY, "examples/postgres_two_hosts/haproxy.cfg");
    const config = (await Deno.readTextFile(sample))
      .replace("bind :80", `bind 127.0.0.1:${webPort}`)
      .replace("10.0.0.11:8000", `127.0.0.1:${one.project.port}`)
      .replace("10.0.0.12:8000", `127.0.0.1:${two.project.port}`);
    await Deno.writeTextFile(join(folder, "haproxy.cfg"), config);
    const balancer = ProcessLog.spawn(["haproxy", "-f", join(folder, "haproxy.cfg")]);
    try {
      const ask = async () => {
        const answer = await fetch(`http://127.0.0.1:${webPort}/`, {
          headers: { connection: "close" },
          signal: AbortSignal.timeout(PATIENCE_MS),
        });
        const text = await answer.text();
        const [, count, host] = /^Visit (\d+), answered by (\w+)$/.exec(text) ?? [];
        assert(count !== undefined, `${answer.status} ${text}\n${balancer.text}`);
        return { count: Number(count), host };
      };
      await until("HAProxy", () => ask().then(() => true, () => false));
      let goesOn = true;
      const seen: { count: number; host: string | undefined }[] = [];
      const asking = (async () => {
        while (goesOn) seen.push(await ask());
      })();
      asking.catch(() => {}); // Awaited below.
      try {
        const { count } = await ask();
        for (const server of [one, two]) assertEquals((await server.reload()).outcome, "done");
        const hosts = () => new Set(seen.map(({ host }) => host));
        await until("both hosts", () => hosts().size === 2);
        assertEquals((await one.stop()).code, 0);
        const stopped = seen.length;
        await until("the other host", () => seen.length > stopped + 5);
        assert(seen.slice(stopped + 1).every(({ host }) => host === "two"));
        assert(seen.at(-1)!.count > count);
      } finally {
        goesOn = false;
      }
      await asking;
      // Each visit was counted once, whoever answered.
      const counts = seen.map(({ count }) => count);
      assertEquals(counts, [...new Set(counts)].sort((a, b) => a - b));
    } finally {
      balancer.signal("SIGINT");
      await balancer.ended(PATIENCE_MS);
    }
  },
);
