/** `"webSockets": "keep"`: old workers live on for their WebSockets alone, on every way of serving. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Status } from "../../lib/protocol/control.ts";
import { Authority } from "../harness/certificates.ts";
import { ANSWER_EVENTS, SHAKE_HANDS } from "../harness/endless_app.ts";
import { HELPER_MODULE, plainHelper } from "../harness/helpers.ts";
import { formatRequest, Wire } from "../harness/http.ts";
import { assertNothingLost, loadAppFiles, loadDuring, versionFile } from "../harness/load_app.ts";
import { testWith } from "../harness/needs.ts";
import { isAlive } from "../harness/process.ts";
import { killQuietly } from "../harness/process_log.ts";
import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { createTlsProject } from "../harness/tls.ts";
import { until, untilTold } from "../harness/wait.ts";

const RELOAD = {
  ...{ webSockets: "keep", idleGraceMs: 300, drainDeadlineMs: 8_000, readyDeadlineMs: 60_000 },
};

/** Answers each message with its version, and with what a helper says where there is one. */
const FETCH_APP = `
const VERSION = "one";
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/version") return new Response(VERSION);
    if (pathname === "/stuck") return new Promise(() => {});
    if (pathname === "/events") {${ANSWER_EVENTS}
    }
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = ({ data }) => {
      if (data === "hang") for (;;);
      socket.send(VERSION);
    };
    return response;
  },
};
`;

const NODE_APP = `
import http from "node:http";
import { createHash } from "node:crypto";
const VERSION = "one";
const server = http.createServer((request, response) => {
  if (request.url === "/version") return response.end(VERSION);
  if (request.url === "/stuck") return;
  response.writeHead(200, { "content-type": "text/event-stream" });
  const timer = setInterval(() => response.write("data: x\\n\\n"), 50);
  response.on("close", () => clearInterval(timer));
});
server.on("upgrade", (request, socket) => {${SHAKE_HANDS}
  socket.on("data", (data) => {
    if ((data[0] & 15) === 8) return socket.end(data.length > 4 ? undefined : "");
    socket.write(new Uint8Array([0x81, VERSION.length]));
    socket.write(VERSION);
  });
  socket.on("error", () => {});
});
server.listen(8000);
`;

/** A WebSocket of a client. */
class Client {
  readonly socket: WebSocket;
  closed: number | undefined;
  readonly #http: Deno.HttpClient;
  #answers: string[] = [];

  private constructor(url: string, ca: string | undefined) {
    this.#http = Deno.createHttpClient(ca === undefined ? {} : { caCerts: [ca] });
    this.socket = new WebSocket(url, { client: this.#http });
    this.socket.onmessage = ({ data }) => this.#answers.push(data);
    this.socket.onerror = () => {};
    this.socket.onclose = ({ code }) => {
      this.closed = code;
      this.#http.close();
    };
  }

  static async open({ url, ca }: Place): Promise<Client> {
    const client = new Client(`${url.replace("http", "ws")}/socket`, ca);
    await new Promise((resolve) => client.socket.onopen = resolve);
    return client;
  }

  /** The version of the app that answers. */
  async ask(): Promise<string> {
    this.socket.send("x");
    return await until("an answer", () => {
      if (this.closed !== undefined) throw new Error(`Closed with ${this.closed}`);
      return this.#answers.shift();
    });
  }

  async ended(): Promise<number> {
    return await until("its end", () => this.closed);
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.ended();
  }
}

interface Place {
  readonly url: string;
  readonly ca: string | undefined;
}

function placeOf({ project }: Server): Place {
  return { url: project.origin, ca: undefined };
}

function brief({ generations }: Status): string[] {
  return generations.map(({ generation, state }) => `${generation} ${state}`);
}

async function untilStates(server: Server, ...states: string[]): Promise<Status> {
  return await untilTold(states.join(", "), async () => {
    const status = await server.status();
    return brief(status).join() === states.join() && status;
  });
}

function pidOf({ generations }: Status, number: number): number {
  return generations.find(({ generation }) => generation === number)!.workers[0]!.process!.pid;
}

async function reload(server: Server, version: string, app = FETCH_APP): Promise<void> {
  await server.project.write("app.ts", app.replace(`"one"`, JSON.stringify(version)));
  assertEquals((await server.reload()).outcome, "done");
}

/** A socket over a reload, beside connections that a drain ends. */
async function keepOver(server: Server, place: Place, app: string): Promise<void> {
  const sockets = await Promise.all([Client.open(place), Client.open(place)]);
  assertEquals(await sockets[0]!.ask(), "one");
  const { port } = server.project;
  const others = place.ca !== undefined ? [] : await Promise.all(
    ["/version", "/events", "/stuck"].map(async (path) => {
      const wire = await Wire.open(port);
      await wire.write(formatRequest(path));
      if (path !== "/stuck") await wire.head();
      return wire;
    }),
  );
  await reload(server, "two", app);
  for (const each of others) {
    await until("its end", () => each.ended());
    each[Symbol.dispose]();
  }
  const status = await untilStates(server, "1 kept", "2 serving");
  const [kept] = status.generations;
  await untilTold("two WebSockets and nothing else", async () => {
    const { connections, webSockets } = (await server.status()).generations[0]!.workers[0]!
      .process!;
    return connections === 2 && webSockets === 2;
  });
  assert(kept!.endsInMs! > 3_600_000, `${kept!.endsInMs}`);
  const { stdout } = await runCommand(server.project, "status");
  assertMatch(stdout, /generation 1 is kept for 2 WebSockets, 3h 59m at the most/);
  for (const socket of sockets) assertEquals(await socket.ask(), "one");
  const late = await Client.open(place);
  assertEquals(await late.ask(), "two");
  const pid = pidOf(status, 1);
  await sockets[0]!.close();
  assertEquals(await sockets[1]!.ask(), "one");
  assertEquals(isAlive(pid), true);
  await sockets[1]!.close();
  const ended = await server.waitFor("generation_ended");
  assertEquals([ended.generation, ended.outcome], [1, others.length > 0 ? "cut" : "drained"]);
  await untilStates(server, "2 serving");
  assertEquals(isAlive(pid), false);
  await late.close();
}

const SERVED = {
  native: { app: FETCH_APP, engine: "native" },
  node: { app: FETCH_APP, engine: "node" },
  "an app's own server": { app: NODE_APP, engine: "native" },
} as const;

for (const [served, { app, engine }] of Object.entries(SERVED)) {
  Deno.test(`an old worker lives on for its WebSockets, and everything else drains (${served})`, async () => {
    await using server = await Server.start({
      files: { "app.ts": app },
      config: { engine, reload: RELOAD },
    });
    await keepOver(server, placeOf(server), app);
  });
}

testWith(
  { programs: ["openssl"] },
  "an old worker lives on for its WebSockets over TLS",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: { "app.ts": FETCH_APP },
      config: { reload: RELOAD },
    });
    await using server = await Server.startOn(project);
    await keepOver(server, { url: `https://localhost:${port}`, ca: authority.cert }, FETCH_APP);
  },
);

const LOADED = `
import app from "./app.ts";
import { GENERATION } from "./version.ts";
export default {
  fetch(request, info) {
    if (new URL(request.url).pathname !== "/socket") return app.fetch(request, info);
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = () => socket.send(GENERATION);
    return response;
  },
};
`;

/** Longer than any client of the load pauses. */
const PATIENT = { idleGraceMs: 1_500, drainDeadlineMs: 60_000 };
const CROWD = 20;
const ROUNDS = 4;

testWith(
  { programs: ["openssl"] },
  "reloads under every mode of load over TLS close no WebSocket, and lose no request",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: { ...await loadAppFiles(), "main.ts": LOADED },
      config: {
        ...{ app: "./main.ts", workers: 2 },
        reload: { ...RELOAD, ...PATIENT, maxDraining: 8, maxKept: ROUNDS },
      },
    });
    await using server = await Server.startOn(project);
    const place = { url: `https://localhost:${port}`, ca: authority.cert };
    const crowds: { version: string; clients: Client[] }[] = [];
    const askAll = async () => {
      for (const { version, clients } of crowds) {
        const answers = await Promise.all(clients.map((each) => each.ask()));
        assertEquals(new Set(answers), new Set([version]));
      }
    };
    const report = await loadDuring(server, async () => {
      for (let round = 1; round <= ROUNDS; round++) {
        const clients = await Promise.all(
          Array.from({ length: CROWD }, () => Client.open(place)),
        );
        crowds.push({ version: String(round), clients });
        await askAll();
        await project.write("version.ts", versionFile(String(round + 1)));
        assertEquals((await server.reload()).outcome, "done");
        await askAll();
      }
    }, { port, ca: authority.cert });
    assertNothingLost(report);
    const closed = crowds.flatMap(({ clients }) => clients).filter((each) => each.closed);
    assertEquals(closed.length, 0);
    for (const { clients } of crowds) await Promise.all(clients.map((each) => each.close()));
    await untilStates(server, `${ROUNDS + 1} serving`);
    const ended = server.eventsOf("generation_ended").map(({ outcome, cut }) => [outcome, cut]);
    assertEquals(ended, Array(ROUNDS).fill(["drained", 0]));
  },
);

const HELPED_APP = `
import { helper } from ${JSON.stringify(HELPER_MODULE)};
export default {
  fetch(request) {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = async () => socket.send(String(await helper("echoes").pid()));
    return response;
  },
};
`;

Deno.test("what is kept keeps its helpers, and one more reload than are kept closes the oldest", async () => {
  await using server = await Server.start({
    files: { "app.ts": HELPED_APP, "echoes.ts": plainHelper() },
    config: {
      helpers: { echoes: { module: "./echoes.ts" } },
      reload: { ...RELOAD, maxKept: 1, drainDeadlineMs: 4_000, spreadMs: 500 },
    },
  });
  const first = await Client.open(placeOf(server));
  const pid = await first.ask();
  assertEquals((await server.reload()).outcome, "done");
  await untilStates(server, "1 kept", "2 serving");
  assertEquals(await first.ask(), pid);
  const second = await Client.open(placeOf(server));
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await first.ended(), 1012);
  await untilStates(server, "2 kept", "3 serving");
  assertEquals(await second.ask() !== pid, true);
  assertEquals(isAlive(Number(pid)), false);
  server.signal("SIGTERM");
  assertEquals(await second.ended(), 1001);
  assertEquals((await server.exited()).code, 0);
});

Deno.test("what is kept ends at its deadline", async () => {
  await using server = await Server.start({
    files: { "app.ts": FETCH_APP },
    config: { reload: { ...RELOAD, keepDeadlineMs: 3_000 } },
  });
  const client = await Client.open(placeOf(server));
  await reload(server, "two");
  assertEquals(await client.ended(), 1012);
  const { outcome, cut } = await server.waitFor("generation_ended");
  assertEquals([outcome, cut], ["drained", 0]);
});

Deno.test("a reload with a config that keeps nothing ends what was kept before", async () => {
  await using server = await Server.start({
    files: { "app.ts": FETCH_APP },
    config: { reload: RELOAD },
  });
  const client = await Client.open(placeOf(server));
  await reload(server, "two");
  await untilStates(server, "1 kept", "2 serving");
  await server.project.configure({ reload: { ...RELOAD, webSockets: "close" } });
  const next = await Client.open(placeOf(server));
  await reload(server, "three");
  assertEquals([await client.ended(), await next.ended()], [1012, 1001]);
  await untilStates(server, "3 serving");
});

Deno.test("a kept worker that hangs is killed by the watchdog, one that is killed costs its own alone, and one whose supervisor is gone leaves", async () => {
  const project = await Project.create({
    files: { "app.ts": FETCH_APP },
    config: { reload: { ...RELOAD, maxKept: 4 }, watchdog: { pulseDeadlineMs: 4_000 } },
  });
  const server = await Server.startOn(project);
  const clients: Client[] = [];
  for (const version of ["two", "three", "four"]) {
    clients.push(await Client.open(placeOf(server)));
    await reload(server, version);
  }
  const [hangs, killed, orphan] = clients as [Client, Client, Client];
  const status = await untilStates(server, "1 kept", "2 kept", "3 kept", "4 serving");
  hangs.socket.send("hang");
  killQuietly(pidOf(status, 2));
  assert(await killed.ended() !== undefined);
  assert(await hangs.ended() !== undefined);
  await server.waitFor("worker_stuck");
  await untilStates(server, "3 kept", "4 serving");
  assertEquals(await orphan.ask(), "three");
  server.signal("SIGKILL");
  await server.ended;
  assertEquals(await orphan.ended(), 1001);
  await until("its end", () => !isAlive(pidOf(status, 3)));
  await until("the end of the one that served", () => !isAlive(pidOf(status, 4)));
  // What it has left is the next one's to remove.
  await using next = await Server.startOn(project);
  void next;
});

Deno.test("an upgrade closes what is kept, by force where it does not obey, and nothing of it is left", async () => {
  await using server = await Server.start({
    files: { "app.ts": FETCH_APP },
    config: { reload: { ...RELOAD, drainDeadlineMs: 3_000 }, watchdog: { pulseDeadlineMs: 0 } },
  });
  const obeys = await Client.open(placeOf(server));
  await reload(server, "two");
  const defies = await Client.open(placeOf(server));
  await reload(server, "three");
  const status = await untilStates(server, "1 kept", "2 kept", "3 serving");
  Deno.kill(pidOf(status, 2), "SIGSTOP");
  server.signal("SIGUSR2");
  assertEquals(await obeys.ended(), 1012);
  assert(await defies.ended() !== undefined);
  await untilTold("an end of the former ones", async () => {
    const { former = [], generations } = await server.status();
    return former.length === 0 && generations.length === 1;
  });
  assertEquals([1, 2].map((each) => isAlive(pidOf(status, each))), [false, false]);
  assertEquals(await server.text("/version"), "three");
});
