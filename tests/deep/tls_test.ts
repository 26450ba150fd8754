/** HTTPS under load, at its ends, and against an app that looks for the key. */
import { assert, assertEquals } from "@std/assert";
import { Authority, type Pair } from "../harness/certificates.ts";
import { formatRequest, Wire } from "../harness/http.ts";
import { BusyHttp2Client } from "../harness/http2.ts";
import { assertNothingLost, loadAppFiles, loadDuring, versionFile } from "../harness/load_app.ts";
import { testWith } from "../harness/needs.ts";
import { killQuietly } from "../harness/process_log.ts";
import { Server } from "../harness/server.ts";
import { createTlsProject, getOver, shownTo, writeNumbered, writePair } from "../harness/tls.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";
import { Connection } from "../load/connection.ts";

const NEEDS = { programs: ["openssl"] } as const;

const QUICK = {
  readyDeadlineMs: 60_000,
  idleGraceMs: 1_000,
  drainDeadlineMs: 60_000,
  maxDraining: 8,
};

testWith(
  NEEDS,
  "reloads, upgrades and new certificates under every mode of load lose nothing",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: await loadAppFiles(),
      config: { workers: 2, spare: 1, reload: QUICK },
    });
    await using server = await Server.startOn(project);
    const report = await loadDuring(server, async () => {
      for (const generation of [2, 3, 4]) {
        await project.write("version.ts", versionFile(String(generation)));
        await writePair(project, await authority.issue(generation === 3 ? "rsa" : "ec"));
        assertEquals((await server.reload()).outcome, "done");
        await until(
          "answers of it",
          () =>
            getOver(authority.cert, `https://localhost:${port}/`).then(({ status }) =>
              status === 200
            ),
        );
      }
      server.signal("SIGUSR2");
      await until(
        "the new program to serve",
        () => server.eventsOf("serving").length === 2,
        4 * PATIENCE_MS,
      );
      assertEquals((await server.reload()).outcome, "done");
    }, { port, ca: authority.cert });
    assertNothingLost(report);
    assert(report.total.ok > 1_000, `only ${report.total.ok} requests`);
  },
);

/** Answers what it is sent, as it comes, and says by whom. */
const ECHO = `
export default {
  fetch: (request) => new Response(request.body, { headers: { pid: String(Deno.pid) } }),
};
`;

/** Sends half of what it will, to a worker that it does not choose. */
async function startUpload(port: number, ca: string) {
  const target = { kind: "tcp", hostname: "127.0.0.1", port, ca } as const;
  const wire = new Wire(await Connection.open(target, PATIENCE_MS));
  await wire.write(formatRequest("/", { method: "POST", headers: { "content-length": "2" } }));
  await wire.write("a");
  const head = await wire.head();
  const body = wire.body(head);
  await body.next();
  return { wire, body, pid: Number(head.headers.get("pid")) };
}

testWith(
  NEEDS,
  "a worker that is killed takes its own connections with it, and no others",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: { "app.ts": ECHO },
      config: { workers: 2, reload: QUICK },
    });
    await using server = await Server.startOn(project);
    const uploads: Awaited<ReturnType<typeof startUpload>>[] = [];
    await until("uploads to both workers", async () => {
      uploads.push(await startUpload(port, authority.cert));
      return new Set(uploads.map(({ pid }) => pid)).size === 2;
    });
    const [killed] = uploads.map(({ pid }) => pid);
    killQuietly(killed!);
    await server.waitFor("worker_ready", 3);
    for (const { wire, body, pid } of uploads) {
      const ended = wire.write("b").then(() => Array.fromAsync(body)).then(
        (pieces) => pieces.map((piece) => new TextDecoder().decode(piece)).join(""),
        () => "cut",
      );
      assertEquals(await ended, pid === killed ? "cut" : "b");
      wire[Symbol.dispose]();
    }
    const after = await startUpload(port, authority.cert);
    after.wire[Symbol.dispose]();
  },
);

testWith(
  NEEDS,
  "certificates added, renewed and removed under load over TLS lose nothing",
  async () => {
    await using authority = await Authority.create();
    const own = await authority.issue();
    const { project, port } = await createTlsProject(own, {
      files: await loadAppFiles(),
      config: { workers: 2, reload: QUICK },
    });
    const more = [
      await authority.issue("ec", "b.test"),
      await authority.issue("rsa", "*.c.test"),
    ];
    const serve = async (pairs: Pair[]) => {
      const certs = await writeNumbered(project, pairs);
      await project.configure({
        listen: [{ https: `127.0.0.1:${port}`, certs }, `127.0.0.1:${project.port}`],
      });
    };
    await serve([own, more[0]!]);
    await using server = await Server.startOn(project);
    const report = await loadDuring(server, async () => {
      const steps = [
        [own, ...more],
        [await authority.issue(), await authority.issue("ec", "b.test"), more[1]!],
        [own],
        [own, more[1]!],
      ];
      for (const [index, pairs] of steps.entries()) {
        await project.write("version.ts", versionFile(String(index + 2)));
        await serve(pairs);
        assertEquals((await server.reload()).outcome, "done");
        const shown = await shownTo(port, "x.c.test");
        assertEquals(shown?.includes("c.test"), pairs.includes(more[1]!));
        await until(
          "answers of it",
          () =>
            getOver(authority.cert, `https://localhost:${port}/`).then(({ status }) =>
              status === 200
            ),
        );
      }
    }, { port, ca: authority.cert });
    assertNothingLost(report);
    assert(report.total.ok > 1_000, `only ${report.total.ok} requests`);
  },
);

testWith(
  NEEDS,
  "names that clients make up get the first certificate, then none, and do not fill a worker",
  async () => {
    await using authority = await Authority.create();
    const pairs = [await authority.issue(), await authority.issue("ec", "b.test", "*.b.test")];
    const { project, port } = await createTlsProject(pairs[0]!, { files: { "app.ts": ECHO } });
    const certs = await writeNumbered(project, pairs);
    await project.configure({
      listen: [{ https: `127.0.0.1:${port}`, certs }, `127.0.0.1:${project.port}`],
    });
    await using server = await Server.startOn(project);
    const ask = (names: string[]) => Promise.all(names.map((name) => shownTo(port, name)));
    const made = (from: number) =>
      Array.from({ length: 50 }, (_, index) => `${from + index}.made.up`);
    const [early] = await ask(["first.made.up"]);
    assert(early !== undefined);
    for (let from = 0; from < 1_200; from += 50) await ask(made(from));
    const late = await ask(made(5_000));
    assertEquals(late.filter((shown) => shown !== undefined), []);
    for (
      const [name, of] of [["x.b.test", true], ["b.test", true], ["localhost", false]] as const
    ) {
      assertEquals((await shownTo(port, name))?.includes("b.test"), of, name);
    }
    assertEquals((await shownTo(port, undefined))?.includes("b.test"), false);
    assertEquals(server.eventsOf("worker_ready").length, 1);
  },
);

const SLOW = `
let asked = 0;
export default {
  async fetch() {
    await new Promise((resolve) => setTimeout(resolve, 50 + asked++ % 16 * 20));
    return new Response("slow");
  },
};
`;

testWith(
  NEEDS,
  "over TLS busy HTTP/2 is asked to go, and whoever says nothing is let go of",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: { "app.ts": SLOW },
      config: { reload: { idleGraceMs: 300, drainDeadlineMs: 120_000 } },
    });
    await using server = await Server.startOn(project);
    const clients = await Promise.all(
      Array.from({ length: 3 }, () => BusyHttp2Client.open(port, "slow", 8, authority.cert)),
    );
    await until("a load on each", () => clients.every(({ answered }) => answered > 10));
    const place = { hostname: "127.0.0.1", port };
    using silent = await Deno.connect(place);
    using half = await Deno.connect(place);
    await half.write(Uint8Array.of(0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 0));
    const target = { kind: "tcp", ...place, ca: authority.cert } as const;
    using shaken = await Connection.open(target, PATIENCE_MS);
    using idle = new Wire(await Connection.open(target, PATIENCE_MS));
    assertEquals((await idle.ask("/")).text, "slow");
    assertEquals((await server.reload()).outcome, "done");
    await Promise.all(clients.map(({ ended }) => ended));
    assertEquals(clients.flatMap(({ lost }) => lost), []);
    assert(clients.every(({ told }) => told), "one was not asked to go");
    assertEquals(await idle.ended(), "closed");
    const { outcome, cut } = await server.waitFor("generation_ended");
    assertEquals([outcome, cut], ["drained", 0]);
    assertEquals(await silent.read(new Uint8Array(1)), null);
    void shaken;
  },
);

const LARGE_BYTES = 8 * 2 ** 20;

testWith(
  NEEDS,
  "a large answer arrives whole over TLS, though its client reads it slowly during a drain",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: {
        "app.ts": `const body = new Uint8Array(${LARGE_BYTES});
        export default { fetch: () => new Response(body) };`,
      },
      config: { reload: QUICK },
    });
    await using server = await Server.startOn(project);
    const target = { kind: "tcp", hostname: "127.0.0.1", port, ca: authority.cert } as const;
    const clients = await Promise.all(Array.from({ length: 4 }, async () => {
      const wire = new Wire(await Connection.open(target, PATIENCE_MS));
      await wire.write(formatRequest("/"));
      return { wire, body: wire.body(await wire.head()) };
    }));
    const reload = server.reload();
    const sizes = clients.map(async ({ wire, body }) => {
      let size = 0;
      for await (const piece of body) {
        size += piece.length;
        await new Promise((resolve) => setTimeout(resolve, 25));
      }
      wire[Symbol.dispose]();
      return size;
    });
    assertEquals((await reload).outcome, "done");
    assertEquals(await Promise.all(sizes), Array(4).fill(LARGE_BYTES));
    assertEquals((await server.waitFor("generation_ended")).cut, 0);
  },
);

const CHAT = `
export default {
  fetch(request) {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.addEventListener("message", ({ data }) => socket.send(data));
    return response;
  },
};
`;

const UPGRADE = formatRequest("/", {
  headers: {
    upgrade: "websocket",
    connection: "Upgrade",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
  },
});

/** Whether a WebSocket opens and echoes a frame. */
async function echoes(port: number, ca: string | undefined): Promise<boolean> {
  try {
    const target = { kind: "tcp", hostname: "127.0.0.1", port, ca } as const;
    using wire = new Wire(await Connection.open(target, PATIENCE_MS));
    await wire.write(UPGRADE);
    await wire.head();
    await wire.write(Uint8Array.of(0x81, 0x81, 0, 0, 0, 0, 0x78));
    const [opcode, length, byte] = await wire.bytes(3);
    return opcode === 0x81 && length === 1 && byte === 0x78;
  } catch {
    return false;
  }
}

for (const over of ["TLS", "plain TCP"] as const) {
  testWith(
    NEEDS,
    `of hundreds of WebSockets that open at once none is lost, over ${over}`,
    async () => {
      await using authority = await Authority.create();
      const { project, port } = await createTlsProject(await authority.issue(), {
        files: { "app.ts": CHAT },
      });
      const plain = over === "TLS" ? undefined : project.port;
      if (plain) await project.configure({ listen: [`127.0.0.1:${plain}`] });
      await using server = await Server.startOn(project);
      for (let round = 0; round < 4; round++) {
        const all = Array.from(
          { length: 600 },
          () => echoes(plain ?? port, plain ? undefined : authority.cert),
        );
        const lost = (await Promise.all(all)).filter((echoed) => !echoed).length;
        assertEquals(lost, 0);
      }
      void server;
    },
  );
}

/** Looks for a text in its own heap. The text comes backwards, or it would find the question. */
const SEEKER = `
import v8 from "node:v8";
export default {
  async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/listen") {
      try {
        Deno.listen({ hostname: "127.0.0.1", port: 1 });
        return new Response("listens");
      } catch ({ name }) {
        return new Response(name);
      }
    }
    const snapshot = v8.getHeapSnapshot();
    const text = [...url.searchParams.get("q")].reverse().join("");
    let found = 0, before = "";
    for await (const chunk of snapshot) {
      const piece = before + chunk;
      if (piece.includes(text)) found++;
      before = piece.slice(-200);
    }
    return new Response(found > 0 ? "found" : "nothing");
  },
};
const KNOWN = "a-text-that-is-there";
globalThis.known = () => KNOWN;
`;

for (const several of [false, true]) {
  testWith(
    NEEDS,
    `an app finds no key in its heap, and gets no listener by listening itself${
      several ? ", with several certificates" : ""
    }`,
    async () => {
      await using authority = await Authority.create();
      const pair = await authority.issue();
      const { project, port } = await createTlsProject(pair, {
        files: { "app.ts": SEEKER },
        // With it the app's own listen reaches the kernel, and so the supervisor.
        config: { net: ["127.0.0.1:1"] },
      });
      if (several) {
        const certs = await writeNumbered(project, [pair, await authority.issue("ec", "b.test")]);
        const plain = `127.0.0.1:${project.port}`;
        await project.configure({ listen: [{ https: `127.0.0.1:${port}`, certs }, plain] });
      }
      await using server = await Server.startOn(project);
      const ask = async (text: string) => {
        const q = encodeURIComponent([...text].reverse().join(""));
        return (await getOver(authority.cert, `https://localhost:${port}/?q=${q}`)).text;
      };
      assertEquals(await ask("a-text-that-is-there"), "found");
      for (const line of pair.key.split("\n").slice(1, 3)) {
        assertEquals(
          await ask(line.slice(0, 40)),
          "nothing",
        );
      }
      const { text } = await getOver(authority.cert, `https://localhost:${port}/listen`);
      assertEquals(text, "PermissionDenied");
      assertEquals(server.eventsOf("call_denied"), []);
      assertEquals(server.eventsOf("worker_ready").length, 1);
    },
  );
}
