/** What slow and greedy clients are allowed over TLS, by HTTP/1.1 and by HTTP/2. */
import { assert, assertEquals } from "@std/assert";
import type { DEFAULT_HTTP_LIMITS } from "../../lib/base/http_limits.ts";
import { Authority } from "../harness/certificates.ts";
import { concat, formatChunk, formatRequest, Wire } from "../harness/http.ts";
import {
  BusyHttp2Client,
  END_STREAM,
  frame,
  GET,
  literal,
  PREFACE,
  TYPE,
} from "../harness/http2.ts";
import { testWith } from "../harness/needs.ts";
import { countDescriptors } from "../harness/process.ts";
import { Server } from "../harness/server.ts";
import {
  drip,
  endsAfterAll,
  LIMITED_APP,
  limitedWhen,
  post,
  SLOW,
} from "../harness/slow_clients.ts";
import { createTlsProject, getOver } from "../harness/tls.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";
import { Connection } from "../load/connection.ts";

const NEEDS = { programs: ["openssl"] } as const;
const END_HEADERS = 4;
const NO_WINDOW = Uint8Array.of(0, 4, 0, 0, 0, 0);

/** A server with a certificate, and clients that trust it. */
async function withServer(
  http: Partial<typeof DEFAULT_HTTP_LIMITS>,
  test: (given: {
    server: Server;
    port: number;
    ca: string;
    open(): Promise<Wire>;
    openHttp2(settings?: Uint8Array): Promise<Wire>;
    get(path: string): Promise<string>;
  }) => Promise<void>,
  { prefix = [], ...more }: { prefix?: string[]; limits?: { descriptors: number } } = {},
): Promise<void> {
  await using authority = await Authority.create();
  const { project, port } = await createTlsProject(await authority.issue(), {
    files: { "app.ts": LIMITED_APP },
    config: { http, ...more },
  });
  // The workers of root's Holdfast are other users, where these can come to what they run.
  await Deno.chmod(project.folder, 0o711);
  await using server = await Server.startOn(project, { prefix });
  const { cert: ca } = authority;
  await test({
    ...{ server, port, ca },
    open: async () => {
      const target = { kind: "tcp", hostname: "127.0.0.1", port, ca } as const;
      return new Wire(await Connection.open(target, PATIENCE_MS));
    },
    openHttp2: async (settings = new Uint8Array()) => {
      const place = { hostname: "127.0.0.1", port };
      const options = { ...place, caCerts: [ca], alpnProtocols: ["h2"] };
      const wire = new Wire(new Connection(await Deno.connectTls(options)));
      await wire.write(concat([PREFACE, frame(TYPE.settings, 0, 0, settings)]));
      return wire;
    },
    get: async (path) => (await getOver(ca, `https://localhost:${port}${path}`)).text,
  });
}

/** The first flight of a client that wants TLS. */
async function clientHello(): Promise<Uint8Array> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  using _client = await Deno.connectTls({ hostname: "127.0.0.1", port });
  using connection = await listener.accept();
  const buffer = new Uint8Array(16_384);
  const length = await connection.read(buffer);
  return buffer.slice(0, length!);
}

const headersOf = (path: string, method: string, more: Uint8Array[] = []) =>
  concat([
    method === "GET" ? Uint8Array.of(0x82) : Uint8Array.of(0x83),
    Uint8Array.of(0x87),
    literal(4, path),
    literal(1, "h"),
    ...more,
  ]);

/** Each is cut, whatever it does, on a connection of HTTP/2 whose window is open or not. */
const SLOW_HTTP2: readonly {
  what: string;
  settings?: Uint8Array;
  first?: Uint8Array;
  then?: Uint8Array;
}[] = [
  { what: "silence after the settings" },
  { what: "half a head", first: frame(TYPE.headers, END_STREAM, 1, GET.subarray(0, 3)) },
  { what: "pings alone", then: frame(TYPE.ping, 0, 0, new Uint8Array(8)) },
  {
    what: "a body that never comes",
    first: frame(TYPE.headers, END_HEADERS, 1, headersOf("/buffer", "POST")),
  },
  {
    what: "a body in drips",
    first: frame(TYPE.headers, END_HEADERS, 1, headersOf("/pieces", "POST")),
    then: frame(TYPE.data, 0, 1, Uint8Array.of(1)),
  },
  {
    what: "takes nothing of a stream",
    settings: NO_WINDOW,
    first: frame(TYPE.headers, END_STREAM | END_HEADERS, 1, headersOf("/stream", "GET")),
  },
  {
    what: "takes nothing of a large answer",
    settings: NO_WINDOW,
    first: frame(TYPE.headers, END_STREAM | END_HEADERS, 1, headersOf("/large", "GET")),
  },
  {
    what: "takes nothing of a small answer",
    settings: NO_WINDOW,
    first: frame(TYPE.headers, END_STREAM | END_HEADERS, 1, headersOf("/", "GET")),
  },
  {
    what: "idle after an answer",
    first: frame(TYPE.headers, END_STREAM | END_HEADERS, 1, headersOf("/", "GET")),
  },
];

testWith(NEEDS, "slow clients over TLS are cut, and nothing is left of them", async () => {
  const settings = {
    headerTimeoutMs: 1_000,
    bodyTimeoutMs: 1_000,
    sendTimeoutMs: 2_000,
    keepAliveTimeoutMs: 1_500,
    minBytesPerSecond: 10_000_000,
  };
  await withServer(settings, async ({ server, port, open, openHttp2, get }) => {
    await get("/");
    const [pid] = await server.workers();
    const before = countDescriptors(pid!);
    const hello = await clientHello();
    const unfinished: readonly [what: string, bytes: Uint8Array, more?: Uint8Array][] = [
      ["nothing", new Uint8Array()],
      ["half a record", Uint8Array.of(0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 0)],
      ["half a ClientHello", hello.subarray(0, hello.length / 2)],
      ["a ClientHello in drips", hello.subarray(0, 50), hello.subarray(50, 51)],
      ["a ClientHello alone", hello],
    ];
    const raw = unfinished.map(async ([what, bytes, more]) => {
      using wire = await Wire.open(port);
      if (bytes.length > 0) await wire.write(bytes);
      assert(await (more ? drip(wire, more) : endsAfterAll(wire)), what);
    });
    const http1 = SLOW.map(async ([what, , first, then]) => {
      using wire = await open();
      if (first.length > 0) await wire.write(first);
      const piece = then && new TextEncoder().encode(then);
      assert(await (piece ? drip(wire, piece) : endsAfterAll(wire)), what);
    });
    const http2 = SLOW_HTTP2.map(async ({ what, settings, first, then }) => {
      using wire = await openHttp2(settings);
      if (first) await wire.write(first);
      assert(await (then ? drip(wire, then) : endsAfterAll(wire)), what);
    });
    await Promise.all([...raw, ...http1, ...http2]);
    await until("its descriptors to be as few as before", () => {
      return Promise.resolve(countDescriptors(pid!) <= before);
    });
    assertEquals(await get("/"), "here");
    assertEquals(server.eventsOf("worker_exited"), []);
  });
});

testWith(NEEDS, "bodies beyond http.maxBodyBytes are refused over TLS", async () => {
  await withServer({ maxBodyBytes: 100_000 }, async ({ server, port, ca, open, get }) => {
    {
      using wire = await open();
      await wire.write(post("/buffer", 100_001));
      assertEquals((await wire.answer()).status, 413);
    }
    {
      using wire = await open();
      const chunked = { method: "POST", headers: { "transfer-encoding": "chunked" } };
      await wire.write(formatRequest("/buffer", chunked));
      const sending = (async () => {
        for (;;) await wire.write(formatChunk(new Uint8Array(20_000)));
      })().catch(() => {});
      assertEquals((await wire.answer()).status, 413);
      wire[Symbol.dispose]();
      await sending;
    }
    using client = Deno.createHttpClient({ caCerts: [ca], http1: false });
    const statusOf = async (body: BodyInit) => {
      const answer = await fetch(`https://localhost:${port}/buffer`, {
        ...{ client, body },
        method: "POST",
      });
      await answer.body?.cancel();
      return answer.status;
    };
    assertEquals(await statusOf(new Uint8Array(100_000)), 200);
    assertEquals(await statusOf(new Uint8Array(100_001)), 413);
    let left = 20;
    const pieces = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (left-- === 0) controller.close();
        else controller.enqueue(new Uint8Array(20_000));
      },
    });
    assertEquals(await statusOf(pieces), 413);
    const limited = await limitedWhen(server, ({ maxBodyBytes }) => maxBodyBytes === 4);
    assertEquals(limited.headerTimeoutMs, undefined);
    assertEquals(await get("/"), "here");
  });
});

testWith(NEEDS, "a connection over TLS ends after http.maxRequestsPerConnection", async () => {
  await withServer({ maxRequestsPerConnection: 5 }, async ({ port, ca, open }) => {
    using wire = await open();
    for (let left = 5; left > 0; left--) {
      const { headers } = await wire.ask("/");
      assertEquals(headers.get("connection") === "close", left === 1);
    }
    assert(await wire.ended() !== "more");
    const client = await BusyHttp2Client.open(port, "here", 4, ca);
    await client.ended;
    assertEquals([client.told, client.lost], [true, []]);
    assert(client.answered >= 5);
  });
});

testWith(
  NEEDS,
  "connections beyond http.maxConnections wait over TLS, and silence makes room",
  async () => {
    await withServer({ maxConnections: 3 }, async ({ server, port, open, get }) => {
      const held = [];
      for (let count = 0; count < 3; count++) {
        const wire = await open();
        assertEquals((await wire.ask("/")).text, "here");
        held.push(wire);
      }
      const waiting = get("/");
      await limitedWhen(server, ({ maxConnections }) => maxConnections === 1);
      assertEquals((await server.status()).generations[0]?.workers[0]?.process?.connections, 3);
      held.shift()![Symbol.dispose]();
      assertEquals(await waiting, "here");
      // Long before http.headerTimeoutMs.
      using _silent = await Wire.open(port);
      using _more = await Wire.open(port);
      assertEquals(await Promise.all([get("/"), get("/")]), ["here", "here"]);
      // A worker that is full lets go of its listener all the same.
      using _last = await Wire.open(port);
      assertEquals((await server.reload()).outcome, "done");
      assertEquals(await get("/"), "here");
      for (const wire of held) wire[Symbol.dispose]();
    });
  },
);

testWith(
  NEEDS,
  "a client has http.maxConnectionsPerAddress over TLS, also where it says nothing",
  async () => {
    await withServer({ maxConnectionsPerAddress: 2 }, async ({ server, port, open }) => {
      const held = [await open(), await open()];
      for (const wire of held) assertEquals((await wire.ask("/")).text, "here");
      const [pid] = await server.workers();
      const before = countDescriptors(pid!);
      const silent = await Promise.all(Array.from({ length: 20 }, () => Wire.open(port)));
      // Long before http.headerTimeoutMs.
      for (const wire of silent) assert(await endsAfterAll(wire));
      await until("their descriptors to be closed", () => {
        return Promise.resolve(countDescriptors(pid!) <= before);
      });
      await limitedWhen(server, (limited) => limited.maxConnectionsPerAddress === 20);
      assertEquals((await held[0]!.ask("/")).text, "here");
      for (const wire of [...held, ...silent]) wire[Symbol.dispose]();
      const again = await until("room for another", () =>
        open().then(async (wire) => {
          if ((await wire.ask("/").catch(() => undefined))?.text === "here") return wire;
          wire[Symbol.dispose]();
        }, () => undefined));
      again[Symbol.dispose]();
    });
  },
);

testWith(
  { ...NEEDS, programs: [...NEEDS.programs, "setpriv"], root: true },
  "a worker whose connections nobody may end is replaced when they are many",
  async () => {
    const prefix = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    await withServer({ headerTimeoutMs: 1_000 }, async ({ server, port, get }) => {
      const silent = await Promise.all(Array.from({ length: 180 }, () => Wire.open(port)));
      const { reason } = await server.waitFor("worker_recycled");
      assertEquals(reason, "maxGivenUpPercent");
      assertEquals(server.eventsOf("connections_stay").length, 1);
      for (const wire of silent) assert(await endsAfterAll(wire));
      assertEquals(await get("/"), "here");
      for (const wire of silent) wire[Symbol.dispose]();
    }, { prefix, limits: { descriptors: 300 } });
  },
);
