/** Dialling: whom a worker reaches, whatever code runs in it. */
import { assertEquals } from "@std/assert";
import dgram from "node:dgram";
import { join } from "node:path";
import { dialledOf, judgeDial, readAddress, withHost } from "../../lib/sandbox/dialling.ts";
import { Held, HOLDING_APP } from "../harness/held.ts";
import { GATE, GATE_FILES, GATE_UNVEIL, untilWorkers } from "../harness/life.ts";
import { NAMES, withNames } from "../harness/names.ts";
import { testWith } from "../harness/needs.ts";
import { tell } from "../harness/obeying_app.ts";
import { freePort } from "../harness/ports.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { Server, type ServerOptions } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const DOUBLES = join(REPOSITORY, "tests/doubles");

/** An app that makes system calls, and has every permission of Deno. */
const NATIVE = { "app.ts": `export { default } from "file://${DOUBLES}/native_app.ts";` };

const native = { missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64" };

const [EPERM, EACCES, EINPROGRESS, EPIPE, EAFNOSUPPORT] = [1, 13, 115, 32, 97];

/** For code of the app: calls, and struct sockaddr of IPv4. */
const PRELUDE = `
  const [SOCKET, CONNECT, SENDTO, SENDMSG, BIND, CLOSE] = [41, 42, 44, 46, 49, 3];
  const [GETSOCKOPT, FCNTL, POLL] = [55, 72, 7];
  const [TCP, UDP, NONBLOCK] = [1, 2, 2048];
  const address = (host, port) => {
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setUint16(0, 2, true);
    new DataView(bytes.buffer).setUint16(2, port);
    bytes.set(host.split(".").map(Number), 4);
    return bytes;
  };
  const socket = (type) => native.call(SOCKET, 2, type, 0);
  const dial = (type, host, port) => {
    const fd = socket(type);
    const result = native.call(CONNECT, fd, address(host, port), 16);
    native.call(CLOSE, fd);
    return result;
  };`;

async function result(server: Server, code: string): Promise<unknown> {
  const outcome = await tell(server, PRELUDE + code);
  assertEquals(outcome.denied, undefined, `${code}: ${outcome.message}`);
  return outcome.ok;
}

async function startNative(options: ServerOptions): Promise<Server> {
  const { config, ...more } = options;
  return await Server.start({
    files: NATIVE,
    config: { onViolation: "log", ...config },
    entry: [join(DOUBLES, "wide_supervisor.ts")],
    ...more,
  });
}

/** Listens on one port of several addresses of this machine, and counts who comes. */
function listen(...hosts: string[]) {
  const counts: Record<string, number> = {};
  const listeners: Deno.Listener[] = [];
  const port = freePort();
  for (const hostname of hosts) listeners.push(Deno.listen({ hostname, port }));
  for (const [index, listener] of listeners.entries()) {
    void (async () => {
      for await (const connection of listener) {
        counts[hosts[index]!] = (counts[hosts[index]!] ?? 0) + 1;
        connection.close();
      }
    })();
  }
  return {
    port,
    counts,
    [Symbol.dispose]: () => listeners.forEach((listener) => listener.close()),
  };
}

/** struct sockaddr of an address. */
function sockaddr(family: number, port: number, host: readonly number[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(family === 2 ? 16 : 28);
  new DataView(bytes.buffer).setUint16(0, family, true);
  new DataView(bytes.buffer).setUint16(2, port);
  bytes.set(host, family === 2 ? 4 : 8);
  return bytes;
}

Deno.test("an address is judged by host and port, in whatever form it comes", () => {
  const dials = dialledOf(["10.0.0.1:80", "[2001:db8::1]:443", "db.test:5432", "any.test"]);
  const known = (name: string) => new Set(name === "db.test" ? ["10.0.0.9"] : []);
  const judge = (bytes: Uint8Array<ArrayBuffer>, transport: "tcp" | "udp" = "tcp") => {
    const asked = readAddress(bytes);
    if (asked?.kind !== "inet") return asked?.kind;
    return judgeDial(asked, { dials, transport, nameServers: () => ["192.0.2.53"], known });
  };
  const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
  const six = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
  assertEquals(judge(sockaddr(2, 80, [10, 0, 0, 1])), "granted");
  assertEquals(judge(sockaddr(10, 80, mapped)), "granted");
  assertEquals(judge(sockaddr(10, 443, six)), "granted");
  assertEquals(judge(sockaddr(2, 5432, [10, 0, 0, 9])), "granted");
  assertEquals(judge(sockaddr(2, 53, [192, 0, 2, 53]), "udp"), "granted");
  // A name without a port may be meant by any.
  assertEquals(judge(sockaddr(2, 81, [10, 0, 0, 1])), { names: ["any.test"] });
  assertEquals(judge(sockaddr(2, 5432, [10, 0, 0, 8])), { names: ["db.test", "any.test"] });
  assertEquals(judge(sockaddr(2, 0, [10, 0, 0, 8]), "udp"), "route");
  assertEquals(judge(new Uint8Array(16)), "none");
  for (const cut of [0, 1, 2, 15]) {
    assertEquals(readAddress(sockaddr(2, 80, [10, 0, 0, 1]).slice(0, cut)), undefined, `${cut}`);
  }
  const own = dialledOf(["10.0.0.1:80"]);
  const asked = { kind: "inet", host: "10.0.0.2", port: 80 } as const;
  const facts = { dials: own, transport: "tcp", nameServers: () => ["10.0.0.2"], known } as const;
  assertEquals(judgeDial(asked, facts), "denied");
  assertEquals(judgeDial({ ...asked, port: 53 }, facts), "denied");
});

Deno.test("another address takes the place of one of its own family", () => {
  const four = sockaddr(2, 80, [10, 0, 0, 1]);
  assertEquals(readAddress(withHost(four, "192.0.2.7")!), {
    kind: "inet",
    host: "192.0.2.7",
    port: 80,
  });
  assertEquals(withHost(four, "2001:db8::1"), undefined);
  const six = sockaddr(10, 443, Array(16).fill(1));
  for (const host of ["2001:db8::1", "::1", "2001:db8:1:2:3:4:5:6", "fe80::"]) {
    assertEquals(readAddress(withHost(six, host)!), { kind: "inet", host, port: 443 });
  }
});

testWith(
  native,
  "native code dials no other address on a port of net, and sends no datagram",
  async (t) => {
    using listed = listen("127.0.0.1", "127.0.0.2");
    await using server = await startNative({ config: { net: [`127.0.0.1:${listed.port}`] } });
    const { port, counts } = listed;

    await t.step("what net lists is connected as it would be without a wall", async () => {
      const code = `
      const fd = socket(TCP | NONBLOCK);
      const begun = native.call(CONNECT, fd, address("127.0.0.1", ${port}), 16);
      const polled = Uint8Array.of(fd, 0, 0, 0, 4, 0, 0, 0);
      const ready = native.call(POLL, polled, 1, 5000);
      const error = new Uint8Array(4);
      native.call(GETSOCKOPT, fd, 1, 4, error, Uint8Array.of(4, 0, 0, 0));
      // F_GETFL, F_GETFD: it does not block, and is closed on exec.
      return [begun, ready, error[0], native.call(FCNTL, fd, 3, 0) & NONBLOCK, native.call(FCNTL, fd, 1, 0)];`;
      assertEquals(await result(server, code), [-EINPROGRESS, 1, 0, 2048, 1]);
      assertEquals(await result(server, `return dial(TCP, "127.0.0.1", ${port})`), 0);
      await until("both connections", () => counts["127.0.0.1"] === 2);
      assertEquals(server.eventsOf("dial_denied"), []);
    });

    await t.step("another address on the same port is refused, and told", async () => {
      for (const host of ["127.0.0.2", "0.0.0.0", "192.0.2.1"]) {
        assertEquals(await result(server, `return dial(TCP, "${host}", ${port})`), -EACCES, host);
      }
      const [first] = server.eventsOf("dial_denied");
      assertEquals(
        [first?.level, first?.role, first?.address, first?.port, first?.reason],
        ["warn", "worker", "127.0.0.2", port, "it is not in net"],
      );
      const { process } = (await server.status()).generations[0]!.workers[0]!;
      assertEquals([process?.denied, process?.dialling], [3, "asked"]);
      assertEquals(counts["127.0.0.2"], undefined);
    });

    await t.step("there is no Unix socket", async () => {
      const code = `
      const to = Uint8Array.of(1, 0, ...new TextEncoder().encode("/run/a.sock"), 0);
      return [native.call(SOCKET, 1, 1, 0), native.call(CONNECT, socket(TCP), to, to.length)];`;
      assertEquals(await result(server, code), [-EPERM, -EAFNOSUPPORT]);
    });

    await t.step("an address that another thread changes meanwhile has no effect", async () => {
      const code = `
      const shared = address("127.0.0.1", ${port});
      const at = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(shared)));
      const swapper = new Worker("data:text/javascript," + encodeURIComponent(
        "onmessage = ({ data }) => { const view = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(" +
          "Deno.UnsafePointer.create(data), 16)); postMessage(0);" +
          "for (let host = 0;; host++) view[7] = 1 + (host >> 4) % 2; };"), { type: "module" });
      await new Promise((resolve) => { swapper.onmessage = resolve; swapper.postMessage(at); });
      let begun = 0;
      for (let tries = 0; tries < 400; tries++) {
        const fd = socket(TCP | NONBLOCK);
        const came = native.call(CONNECT, fd, shared, 16);
        if (came === -${EINPROGRESS} || came === 0) begun++;
        native.call(CLOSE, fd);
      }
      swapper.terminate();
      return [begun > 0, shared.length];`;
      assertEquals(await result(server, code), [true, 16]);
      // Whatever came before it has been accepted.
      using connection = await Deno.connect({ hostname: "127.0.0.2", port });
      await connection.read(new Uint8Array(1));
      await until("the connection of this test", () => counts["127.0.0.2"] !== undefined);
      assertEquals(counts["127.0.0.2"], 1);
    });
  },
);

testWith(
  native,
  "native code sends datagrams to nobody, though names are looked up by them",
  async () => {
    using listed = listen("127.0.0.1", "127.0.0.2");
    const receiver = dgram.createSocket("udp4");
    const received = new Promise<string>((resolve) =>
      receiver.on("message", (data) => resolve(data.toString()))
    );
    await new Promise<void>((resolve) => receiver.bind(0, "127.0.0.1", resolve));
    await using server = await startNative({ config: { net: [`localhost:${listed.port}`] } });
    const to = receiver.address().port;
    const code = `
    const there = address("127.0.0.1", ${to}), text = "datagram";
    const fd = socket(UDP);
    const found = [native.call(SENDTO, fd, text, 8, 0, there, 16)];
    // struct msghdr with an address.
    const words = new BigUint64Array(7);
    const pointer = (bytes) => BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
    const part = new Uint8Array(new BigUint64Array([pointer(there), 8n]).buffer);
    words.set([pointer(there), 16n, pointer(part), 1n]);
    found.push(native.call(SENDMSG, fd, new Uint8Array(words.buffer), 0));
    found.push(native.call(CONNECT, fd, there, 16));
    // How an address is reached may be asked, as the C library does; nothing is sent there.
    const routed = socket(UDP);
    found.push(native.call(CONNECT, routed, address("192.0.2.1", 0), 16) === 0);
    found.push(native.call(CONNECT, routed, address("127.0.0.1", 0), 16));
    found.push(native.call(SENDTO, routed, text, 8, 0x4000, 0, 0));
    return found;`;
    const [sent, message, connected, , routed, after] = await result(server, code) as number[];
    assertEquals([sent, message, connected, routed, after], [-EACCES, -EPERM, -EACCES, 0, -EPIPE]);
    // The name resolver binds a port; nothing else gets a name, not even an abstract one.
    const binding = `
    // The sockets that every process is given: it can make no pair of its own.
    const [HAND_OVER, CHANNEL] = [3, 4];
    const named = Uint8Array.of(1, 0, 0, ...new TextEncoder().encode("taken"));
    const bind = (fd, to, length = to.length) => native.call(BIND, fd, to, length);
    return [
      bind(socket(UDP), address("127.0.0.1", 0)), bind(socket(UDP), address("127.0.0.1", 53)),
      bind(socket(TCP), address("127.0.0.1", 0)), bind(HAND_OVER, named), bind(CHANNEL, named, 2),
      bind(0, named),
    ];`;
    const [bound, ...refused] = await result(server, binding) as number[];
    assertEquals([bound, refused.map((came) => came < 0)], [0, Array(5).fill(true)]);
    // What a name resolves to is dialled, and nothing else on its port.
    assertEquals(await result(server, `return dial(TCP, "127.0.0.1", ${listed.port})`), 0);
    await server.waitFor("dial_denied", 2);
    // One of the test's own comes after whatever came before.
    const sender = dgram.createSocket("udp4");
    sender.send("own", to, "127.0.0.1");
    assertEquals(await received, "own");
    sender.close();
    receiver.close();
  },
);

testWith(native, "a worker that dials an address which is not in net is replaced", async () => {
  using listed = listen("127.0.0.1", "127.0.0.2");
  await using server = await startNative({
    config: { net: [`127.0.0.1:${listed.port}`], onViolation: "replace" },
  });
  const ended = tell(server, `${PRELUDE}return dial(TCP, "127.0.0.2", ${listed.port})`).catch(
    () => {},
  );
  const { how } = await server.waitFor("worker_lost");
  assertEquals(how, "tried connect (killed by SIGKILL)");
  await ended;
});

/** Dials names one after the other when it opens, and prints what came of it. */
const DIALLING_APP = `
async function dial(hostname, port) {
  try {
    (await Deno.connect({ hostname, port })).close();
    return "connected";
  } catch (error) {
    return error.name;
  }
}
export async function open() {
  const found = [];
  for (let round = 0; round < 6; round++) found.push(await dial("changing.test", 9));
  for (const host of ["small.test", "large.test"]) found.push(await dial(host, 10));
  // One of several on a port changes, or several of them do.
  for (let round = 0; round < 4; round++) {
    for (const host of ["changing.test", "small.test"]) found.push(await dial(host, 11));
    for (const host of ["first.test", "second.test"]) found.push(await dial(host, 12));
  }
  console.log(JSON.stringify(found));
}
export default { fetch: () => new Response("ok") };
`;

testWith(
  NAMES,
  "names whose addresses change each time are dialled, and nobody is told",
  async () => {
    const project = await Project.create({
      files: { "app.ts": DIALLING_APP },
      config: {
        net: [
          ...["changing.test:9", "small.test:10", "large.test:10"],
          ...["changing.test:11", "small.test:11", "first.test:12", "second.test:12"],
        ],
      },
    });
    await using server = await Server.startOn(project, { prefix: await withNames(project.folder) });
    const { text } = await server.waitFor("worker_output");
    assertEquals(JSON.parse(`${text}`), Array(24).fill("ConnectionRefused"));
    assertEquals(server.eventsOf("dial_denied"), []);
  },
);

Deno.test("what an old worker dials goes on after an upgrade, and is judged", async () => {
  using listed = listen("127.0.0.1", "127.0.0.2");
  const app = HOLDING_APP.replace("export default", "const holding =") + `
    export default {
      async fetch(request) {
        const { pathname, searchParams } = new URL(request.url);
        if (pathname !== "/dial") return await holding.fetch(request);
        const [hostname, port] = [searchParams.get("host"), Number(searchParams.get("port"))];
        try {
          (await Deno.connect({ hostname, port })).close();
          return new Response("connected");
        } catch (error) {
          return new Response(error.name);
        }
      },
    };`;
  await using server = await Server.start({
    files: { "app.ts": app, ...GATE_FILES },
    config: {
      unveil: GATE_UNVEIL,
      net: [`localhost:${listed.port}`],
      reload: { drainDeadlineMs: 60_000, idleGraceMs: 30_000 },
    },
  });
  using held = await Held.begin(server.project);
  await server.project.write("app.ts", app + GATE);
  server.signal("SIGUSR2");
  await untilWorkers(server, 2);
  await server.project.write("gate/open", "");
  await server.waitFor("upgrading");
  await until("the exec", async () => {
    return await server.status().then((status) => status.upgrades === 1, () => false);
  });
  // The new one waits at the gate: the old one answers.
  assertEquals(await server.text(`/dial?host=localhost&port=${listed.port}`), "connected");
  await server.project.write("gate/open", "");
  await server.waitFor("serving", 2);
  assertEquals(await held.release(), "one whole");
  assertEquals(server.eventsOf("dial_denied"), []);
});
