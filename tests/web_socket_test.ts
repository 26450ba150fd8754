import { assert, assertEquals, assertMatch } from "@std/assert";
import { concat, formatRequest, Wire } from "./harness/http.ts";
import { Project } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { until, untilTold } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;

/** The ways in which an app upgrades, by their paths. */
const WAYS = { deno: "Deno.upgradeWebSocket", hono: "Hono's upgradeWebSocket" } as const;
type Way = keyof typeof WAYS;

/**
 * Says its version, echoes, and closes when asked to, in either way; `/deno/closes` and `/hono/closes`
 * tell of the sockets that have ended.
 */
const APP = `
import { Hono } from "hono";
import { upgradeWebSocket } from "hono/deno";
const VERSION = "one";

const denoCloses = [];
function upgrade(request) {
  const asked = request.headers.get("sec-websocket-protocol");
  const { socket, response } = Deno.upgradeWebSocket(request, asked ? { protocol: "chat" } : {});
  socket.addEventListener("open", () => socket.send(VERSION));
  socket.addEventListener("message", ({ data }) => {
    if (data === "please close") socket.close(4001, "as you wish");
    else socket.send(data);
  });
  socket.addEventListener("close", ({ code, reason }) => denoCloses.push({ code, reason }));
  return response;
}

const app = new Hono().basePath("/hono");
const honoCloses = [];
app.get("/closes", (c) => c.json(honoCloses));
const handlers = {
  onOpen: (_event, socket) => socket.send(VERSION),
  onMessage({ data }, socket) {
    if (data === "please close") socket.close(4001, "as you wish");
    else socket.send(data);
  },
  onClose: ({ code, reason }) => honoCloses.push({ code, reason }),
};
app.get("/chat", upgradeWebSocket(() => handlers, { protocol: "chat" }));
app.get("/", upgradeWebSocket(() => handlers));

let goOn;

export default {
  async fetch(request, info) {
    const { pathname } = new URL(request.url);
    if (pathname.endsWith("/go_on")) return new Response(String(goOn?.() !== undefined));
    if (pathname.endsWith("/when_told")) {
      const told = Promise.withResolvers();
      goOn = () => (goOn = undefined, told.resolve(), true);
      await told.promise;
      return upgrade(request);
    }
    if (pathname.startsWith("/hono")) return app.fetch(request, info);
    return pathname === "/deno/closes" ? Response.json(denoCloses) : upgrade(request);
  },
};
`;

/** A server, and which of its listeners clients use. */
interface Place {
  readonly server: Server;
  readonly over: "tcp" | "unix";
}

/** A client's WebSocket with what came over it, in order; no wait on it is endless. */
class Client implements AsyncDisposable {
  readonly #socket: WebSocket;
  readonly #http: Deno.HttpClient;
  readonly #arrived: (string | Uint8Array)[] = [];
  #closed: { code: number; reason: string } | undefined;

  constructor(socket: WebSocket, http: Deno.HttpClient) {
    this.#socket = socket;
    this.#http = http;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      this.#arrived.push(typeof data === "string" ? data : new Uint8Array(data));
    });
    socket.addEventListener("close", ({ code, reason }) => {
      this.#closed = { code, reason };
      this.#http.close();
    });
    // The close that follows tells what there is to tell.
    socket.addEventListener("error", () => {});
  }

  /** Opens a socket and waits for the version of the app that serves it. */
  static async open(place: Place, way: Way, more = "", protocols: string[] = []) {
    const { server: { project }, over } = place;
    const url = `${project.origin.replace("http", "ws")}/${way}${more}`;
    const path = project.path("http.sock");
    // Of a Unix socket the address in the URL is only a name.
    const http = over === "unix"
      ? Deno.createHttpClient({ proxy: { transport: "unix", path } })
      : Deno.createHttpClient({});
    const client = new Client(new WebSocket(url, { protocols, client: http }), http);
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
  await untilTold(`${expected} in flight`, async () => {
    return (await server.status()).generations.at(-1)?.workers[0]?.process?.inFlight === expected;
  });
}

async function connectionsAre(server: Server, expected: number): Promise<void> {
  await untilTold(`${expected} connections`, async () => {
    const { generations } = await server.status();
    return generations.at(-1)?.workers[0]?.process?.connections === expected;
  });
}

/** Each promise, kept with either engine and either way to upgrade, on a server that others used. */
const PROMISES: Record<string, (place: Place, way: Way) => Promise<void>> = {
  async "echoes text and bytes"(place, way) {
    const { client, version } = await Client.open(place, way);
    await using _closing = client;
    assertEquals(version, "one");
    client.send("hello");
    assertEquals(await client.next(), "hello");
    client.send(new Uint8Array([0, 1, 255]));
    assertEquals(await client.next(), new Uint8Array([0, 1, 255]));
  },

  async "carries messages of 1 MB, text and bytes"(place, way) {
    const { client } = await Client.open(place, way);
    await using _closing = client;
    const text = "0123456789abcdef".repeat(65_536);
    client.send(text);
    assert(await client.next() === text);
    const bytes = new Uint8Array(1_000_000).map((_, index) => index % 251);
    client.send(bytes);
    assertEquals(await client.next(), bytes);
  },

  async "carries 2000 messages in order"(place, way) {
    const { client } = await Client.open(place, way);
    await using _closing = client;
    for (let index = 0; index < 2000; index++) client.send(`message ${index}`);
    for (let index = 0; index < 2000; index++) {
      assertEquals(await client.next(), `message ${index}`);
    }
  },

  async "hears what its client says before the handshake is answered"(place, way) {
    // A masked text of five bytes; a mask of zeros changes nothing.
    const hello = Uint8Array.from([0x81, 0x85, 0, 0, 0, 0, ...new TextEncoder().encode("hello")]);
    const ask = (path: string) => formatRequest(path, { headers: HANDSHAKE });
    for (let count = 0; count < 20; count++) {
      using connection = await connect(place);
      await connection.write(concat([ask(`/${way}`), hello]));
      assertMatch(await echoOf(connection), /hello$/);
    }
    // In the middle, when the worker has read the one and not begun to answer it.
    for (let count = 0; count < 5; count++) {
      using connection = await connect(place);
      await connection.write(ask(`/${way}/when_told`));
      await place.server.text(`/${way}/closes`);
      await connection.write(hello);
      await untilTold(
        "it to upgrade",
        async () => await place.server.text(`/${way}/go_on`) === "true",
      );
      assertMatch(await echoOf(connection), /hello$/);
    }
  },

  async "passes on the code with which the app closes"(place, way) {
    const { client } = await Client.open(place, way);
    client.send("please close");
    assertEquals(await client.closed(), { code: 4001, reason: "as you wish" });
  },

  async "passes on the code with which the client closes"(place, way) {
    const { client } = await Client.open(place, way);
    client.close(4002, "that is all");
    await client.closed();
    await until("the app to hear of it", async () => {
      const closes: { code: number; reason: string }[] =
        await (await place.server.get(`/${way}/closes`))
          .json();
      return closes.some(({ code, reason }) => code === 4002 && reason === "that is all");
    });
  },

  async "agrees on a subprotocol"(place, way) {
    const { client } = await Client.open(place, way, "/chat", ["chat"]);
    await using _closing = client;
    assertEquals(client.protocol, "chat");
  },

  async "keeps two sockets apart, and counts both as in flight"(place, way) {
    {
      const { client: first } = await Client.open(place, way);
      await using _first = first;
      const { client: second } = await Client.open(place, way);
      await using _second = second;
      first.send("to the first");
      second.send("to the second");
      assertEquals(await second.next(), "to the second");
      assertEquals(await first.next(), "to the first");
      await inFlightIs(place.server, 2);
    }
    await inFlightIs(place.server, 0);
  },

  async "forgets a socket whose client goes away without a word"(place, way) {
    {
      using wire = await shakeHands(place, way);
      await inFlightIs(place.server, 1);
      assertEquals(await wire.ended(), "more");
    }
    await inFlightIs(place.server, 0);
    await connectionsAre(place.server, 0);
  },
};

/** A handshake, as a client sends it. */
const HANDSHAKE = {
  "connection": "Upgrade",
  "upgrade": "websocket",
  "sec-websocket-version": "13",
  "sec-websocket-key": btoa("sixteen bytes..."),
};

function connect({ server: { project }, over }: Place): Promise<Deno.Conn> {
  return over === "tcp"
    ? Deno.connect({ hostname: "127.0.0.1", port: project.port })
    : Deno.connect({ transport: "unix", path: project.path("http.sock") });
}

/** All that comes until there is an echo; who gets none waits no longer than `until` does. */
async function echoOf(connection: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(1_024);
  let text = "";
  let over = false;
  const read = async () => {
    for (let size; !text.endsWith("hello") && (size = await connection.read(buffer)) !== null;) {
      text += String.fromCharCode(...buffer.subarray(0, size));
    }
  };
  read().catch(() => {}).finally(() => over = true);
  await until("an echo", () => over);
  return text;
}

/** A WebSocket of a client that will say nothing more. */
async function shakeHands({ server: { project }, over }: Place, way: Way): Promise<Wire> {
  const wire = await Wire.open(over === "tcp" ? project.port : project.path("http.sock"));
  const { status } = await wire.ask(`/${way}`, { headers: HANDSHAKE });
  assertEquals(status, 101);
  return wire;
}

/** Reloads with another version and with limits for its own drain. */
async function swap(server: Server, version: string, reload: Record<string, number>) {
  await server.project.write("app.ts", APP.replace('"one"', JSON.stringify(version)));
  await server.project.configure({ reload });
  assertEquals((await server.reload()).outcome, "done");
}

for (const engine of ENGINES) {
  Deno.test(`WebSockets of the ${engine} engine`, async (t) => {
    const project = await Project.create({
      files: {
        "app.ts": APP,
        "deno.json": JSON.stringify({ imports: { "hono": "npm:hono@4.13.19" } }),
      },
      config: { engine },
    });
    await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:./http.sock"] });
    await using server = await Server.startOn(project);
    const [pid] = await server.workers();

    // On a Unix socket the node engine serves, whichever was asked for.
    const places = engine === "node" ? ["tcp", "unix"] as const : ["tcp"] as const;
    for (const over of places) {
      for (const way of ["deno", "hono"] as const) {
        for (const [promise, keep] of Object.entries(PROMISES)) {
          const what = `${WAYS[way]}${over === "unix" ? " on a Unix socket" : ""} ${promise}`;
          await t.step(`a WebSocket of ${what}`, async () => {
            await keep({ server, over }, way);
            assertEquals(server.eventsOf("worker_output"), []);
          });
        }
      }
    }

    await t.step(
      "a handshake that is none is answered 500, and its connection forgotten",
      async () => {
        await inFlightIs(server, 0);
        {
          using wire = await Wire.open(project.port);
          const headers = { connection: "Upgrade", upgrade: "websocket" };
          assertEquals((await wire.ask("/deno", { headers })).status, 500);
        }
        const { client } = await Client.open({ server, over: "tcp" }, "deno");
        await using _closing = client;
        await inFlightIs(server, 1);
        await connectionsAre(server, 1);
      },
    );

    assertEquals(await server.workers(), [pid]);
    await inFlightIs(server, 0);
    await connectionsAre(server, 0);

    await t.step(
      "a WebSocket is closed with 1001 at a reload, and the next meets new code",
      async () => {
        const ways: Way[] = ["deno", "hono"];
        const places = ["tcp", "unix"] as const;
        const old = await Promise.all(
          places.flatMap((over) => ways.map((way) => Client.open({ server, over }, way))),
        );
        await swap(server, "two", { idleGraceMs: 100, drainDeadlineMs: 500 });
        for (const { client } of old) assertEquals((await client.closed()).code, 1001);
        for (const way of ["deno", "hono"] as const) {
          const { client: again, version } = await Client.open({ server, over: "unix" }, way);
          await using _closing = again;
          assertEquals(version, "two");
        }
        const { answered, cut, outcome } = await server.waitFor("generation_ended");
        assertEquals({ answered, cut, outcome }, { answered: 4, cut: 0, outcome: "drained" });
      },
    );

    await t.step(
      "a WebSocket whose client does not answer the close is cut at the deadline",
      async () => {
        await inFlightIs(server, 0);
        using _silent = await shakeHands({ server, over: "tcp" }, "deno");
        await inFlightIs(server, 1);
        await swap(server, "three", {});
        const { cut, outcome } = await server.waitFor("generation_ended", 2);
        assertEquals({ cut, outcome }, { cut: 1, outcome: "cut" });
      },
    );

    assertEquals(server.eventsOf("worker_lost"), []);
  });
}
