import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { formatRequest, Wire } from "./harness/http.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;

/** Apps that say their version, echo, and close when asked to; `/closes` tells of ended sockets. */
const APPS: Record<string, Record<string, string>> = {
  "Deno.upgradeWebSocket": {
    "app.ts": `
const VERSION = "one";
const closes = [];
export default {
  fetch(request) {
    if (new URL(request.url).pathname === "/closes") return Response.json(closes);
    const asked = request.headers.get("sec-websocket-protocol");
    const { socket, response } = Deno.upgradeWebSocket(request, asked ? { protocol: "chat" } : {});
    socket.addEventListener("open", () => socket.send(VERSION));
    socket.addEventListener("message", ({ data }) => {
      if (data === "please close") socket.close(4001, "as you wish");
      else socket.send(data);
    });
    socket.addEventListener("close", ({ code, reason }) => closes.push({ code, reason }));
    return response;
  },
};
`,
  },
  "Hono's upgradeWebSocket": {
    "deno.json": JSON.stringify({ imports: { "hono": "npm:hono@4.13.19" } }),
    "app.ts": `
import { Hono } from "hono";
import { upgradeWebSocket } from "hono/deno";
const VERSION = "one";
const closes = [];
const app = new Hono();
app.get("/closes", (c) => c.json(closes));
const handlers = {
  onOpen: (_event, socket) => socket.send(VERSION),
  onMessage({ data }, socket) {
    if (data === "please close") socket.close(4001, "as you wish");
    else socket.send(data);
  },
  onClose: ({ code, reason }) => closes.push({ code, reason }),
};
app.get("/chat", upgradeWebSocket(() => handlers, { protocol: "chat" }));
app.get("/", upgradeWebSocket(() => handlers));
export default app;
`,
  },
};

/** A client's WebSocket with what came over it, in order; no wait on it is endless. */
class Client implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #arrived: (string | Uint8Array)[] = [];
  #closed: { code: number; reason: string } | undefined;

  constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      this.#arrived.push(typeof data === "string" ? data : new Uint8Array(data));
    });
    socket.addEventListener("close", ({ code, reason }) => this.#closed = { code, reason });
    // The close that follows tells what there is to tell.
    socket.addEventListener("error", () => {});
  }

  /** Opens a socket and waits for the version of the app that serves it. */
  static async open(server: Server, path = "/", protocols: string[] = []) {
    const { origin } = server.project;
    const url = `${origin.replace("http", "ws")}${path}`;
    const client = new Client(new WebSocket(url, protocols));
    return { client, version: await client.next() };
  }

  get protocol(): string {
    return this.#socket.protocol;
  }

  send(data: string | Uint8Array<ArrayBuffer>): void {
    this.#socket.send(data);
  }

  close(code: number, reason: string): void {
    this.#socket.close(code, reason);
  }

  async next(): Promise<string | Uint8Array> {
    return await until("a message", () => {
      if (this.#arrived.length === 0 && this.#closed) {
        throw new Error(`Closed instead: ${JSON.stringify(this.#closed)}`);
      }
      return this.#arrived.shift();
    });
  }

  async closed(): Promise<{ code: number; reason: string }> {
    return await until("the socket to close", () => this.#closed);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.close();
    await this.closed();
  }
}

async function inFlightIs(server: Server, expected: number): Promise<void> {
  await until(`${expected} in flight`, async () => {
    return (await server.status()).generations.at(-1)?.workers[0]?.process?.inFlight === expected;
  });
}

/** Each promise, kept with either engine and either way to upgrade. */
const PROMISES: Record<string, (server: Server) => Promise<void>> = {
  async "echoes text and bytes"(server) {
    const { client, version } = await Client.open(server);
    await using _closing = client;
    assertEquals(version, "one");
    client.send("hello");
    assertEquals(await client.next(), "hello");
    client.send(new Uint8Array([0, 1, 255]));
    assertEquals(await client.next(), new Uint8Array([0, 1, 255]));
  },

  async "carries messages of 1 MB, text and bytes"(server) {
    const { client } = await Client.open(server);
    await using _closing = client;
    const text = "0123456789abcdef".repeat(65_536);
    client.send(text);
    assert(await client.next() === text);
    const bytes = new Uint8Array(1_000_000).map((_, index) => index % 251);
    client.send(bytes);
    assertEquals(await client.next(), bytes);
  },

  async "carries 2000 messages in order"(server) {
    const { client } = await Client.open(server);
    await using _closing = client;
    for (let index = 0; index < 2000; index++) client.send(`message ${index}`);
    for (let index = 0; index < 2000; index++) {
      assertEquals(await client.next(), `message ${index}`);
    }
  },

  async "passes on the code with which the app closes"(server) {
    const { client } = await Client.open(server);
    client.send("please close");
    assertEquals(await client.closed(), { code: 4001, reason: "as you wish" });
  },

  async "passes on the code with which the client closes"(server) {
    const { client } = await Client.open(server);
    client.close(4002, "that is all");
    await client.closed();
    const closes = await until("the app to hear of it", async () => {
      const found = await (await server.get("/closes")).json();
      return found.length > 0 && found;
    });
    assertEquals(closes, [{ code: 4002, reason: "that is all" }]);
  },

  async "agrees on a subprotocol"(server) {
    const { client } = await Client.open(server, "/chat", ["chat"]);
    await using _closing = client;
    assertEquals(client.protocol, "chat");
  },

  async "keeps two sockets apart, and counts both as in flight"(server) {
    {
      const { client: first } = await Client.open(server);
      await using _first = first;
      const { client: second } = await Client.open(server);
      await using _second = second;
      first.send("to the first");
      second.send("to the second");
      assertEquals(await second.next(), "to the second");
      assertEquals(await first.next(), "to the first");
      await inFlightIs(server, 2);
    }
    await inFlightIs(server, 0);
  },

  async "forgets a socket whose client goes away without a word"(server) {
    {
      using wire = await shakeHands(server);
      await inFlightIs(server, 1);
      assertEquals(await wire.ended(), "more");
    }
    await inFlightIs(server, 0);
    assertEquals((await server.status()).generations[0]?.workers[0]?.process?.connections, 0);
  },

  async "is closed with 1001 at a reload, and the next one meets the new generation"(server) {
    const { client } = await Client.open(server);
    const { client: other } = await Client.open(server);
    const old = await Deno.readTextFile(server.project.path("app.ts"));
    await server.project.write("app.ts", old.replace('"one"', '"two"'));
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals((await client.closed()).code, 1001);
    assertEquals((await other.closed()).code, 1001);
    const { client: again, version } = await Client.open(server);
    await using _closing = again;
    assertEquals(version, "two");
    const { answered, cut, outcome } = await server.waitFor("generation_ended");
    assertEquals({ answered, cut, outcome }, { answered: 2, cut: 0, outcome: "drained" });
  },
};

/** A WebSocket of a client that will say nothing more. */
async function shakeHands(server: Server, place?: number | string): Promise<Wire> {
  const wire = await Wire.open(place ?? server.project.port);
  const { status } = await wire.ask("/", {
    headers: {
      "connection": "Upgrade",
      "upgrade": "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": btoa("sixteen bytes..."),
    },
  });
  assertEquals(status, 101);
  return wire;
}

for (const engine of ENGINES) {
  for (const [upgrade, files] of Object.entries(APPS)) {
    for (const [promise, keep] of Object.entries(PROMISES)) {
      Deno.test(`a WebSocket of ${upgrade} ${promise} (${engine})`, async () => {
        await using server = await Server.start({ files, config: { engine } });
        await keep(server);
        assertEquals(server.eventsOf("worker_lost"), []);
        assertEquals(server.eventsOf("worker_output"), []);
      });
    }
  }

  const files = APPS["Deno.upgradeWebSocket"]!;

  Deno.test(`a WebSocket whose client does not answer the close is cut at the deadline (${engine})`, async () => {
    await using server = await Server.start({
      files,
      config: { engine, reload: { idleGraceMs: 100, drainDeadlineMs: 500 } },
    });
    using _silent = await shakeHands(server);
    assertEquals((await server.hangUp()).event, "reload_done");
    const { cut, outcome } = await server.waitFor("generation_ended");
    assertEquals({ cut, outcome }, { cut: 1, outcome: "cut" });
  });

  Deno.test(`a handshake that is none is answered 500, and the connection is forgotten (${engine})`, async () => {
    await using server = await Server.start({ files, config: { engine } });
    {
      using wire = await Wire.open(server.project.port);
      const headers = { connection: "Upgrade", upgrade: "websocket" };
      assertEquals((await wire.ask("/", { headers })).status, 500);
    }
    const { client } = await Client.open(server);
    await using _closing = client;
    await inFlightIs(server, 1);
  });

  Deno.test(`an upgrade on a Unix listener is answered 501, and the log says what to set (${engine})`, async () => {
    await using server = await Server.start({ files, config: { engine } });
    const { project } = server;
    await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:./http.sock"] });
    assertEquals((await server.hangUp()).event, "reload_done");
    using wire = await Wire.open(project.path("http.sock"));
    await wire.write(formatRequest("/", {
      headers: {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": btoa("sixteen bytes..."),
      },
    }));
    assertEquals((await wire.answer()).status, 501);
    assertEquals(await wire.ended(), "closed");
    const { text } = await server.waitFor("worker_output");
    assertStringIncludes(String(text), "host:port for WebSockets");
    // The same app at the same time on TCP.
    const { client, version } = await Client.open(server);
    await using _closing = client;
    assertEquals(version, "one");
  });
}
