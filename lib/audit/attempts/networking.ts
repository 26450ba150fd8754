/** Speaking to anybody but the clients that came by the listener. */
import dgram from "node:dgram";
import dns from "node:dns";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import https from "node:https";
import inspector from "node:inspector";
import net from "node:net";
import { dirname, relative } from "node:path";
import process from "node:process";
import tls from "node:tls";
import { Worker as NodeWorker } from "node:worker_threads";
import type { Attempt } from "../attempt.ts";
import { addressOf, call, must, reaches, Refused } from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

const LOOPBACK = "127.0.0.1";

/** How long a question may be under way before it is given up; the canary has heard it by then. */
const HEARD_MS = 400;

/** An attempt that both layers refuse and that a canary server would notice. */
function contact(
  id: string,
  title: string,
  run: Attempt["run"],
  more: Partial<Attempt> = {},
): Attempt {
  return {
    ...{ id, area: "network", title, deno: "stops", kernel: "stops", proof: "contact" },
    ...more,
    run,
  };
}

/** The same, where only the subject can tell what came of it. */
function claim(
  id: string,
  title: string,
  run: Attempt["run"],
  more: Partial<Attempt> = {},
): Attempt {
  return contact(id, title, run, { ...more, proof: "claim" });
}

/** Attempts that the kernel leaves open for an app that may dial this much. */
function openWith(
  much: NonNullable<Attempt["openWith"]>,
  attempts: readonly Attempt[],
): Attempt[] {
  return attempts.map((attempt) => ({ ...attempt, openWith: much }));
}

/** Waits until a socket or a server of Node is where it should be, and lets go of it. */
async function reached(
  emitter: net.Socket | net.Server | dgram.Socket,
  event: string,
): Promise<string> {
  try {
    await catchStray(() => once(emitter, event));
    return event;
  } finally {
    if (emitter instanceof net.Socket) emitter.destroy();
    else emitter.close();
  }
}

/** Waits for an answer that may never come. */
async function heard(question: Promise<unknown>): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const timer = setTimeout(() => resolve("no answer"), HEARD_MS);
  try {
    return await Promise.race([question, promise]);
  } finally {
    clearTimeout(timer);
    question.catch(() => {});
  }
}

/** Reads an answer to the end. What fetch throws says nothing; what caused it does. */
async function readAll(url: string, init?: RequestInit & { client?: Deno.HttpClient }) {
  try {
    return await (await fetch(url, init)).text();
  } catch (error) {
    let deepest = error as Error;
    while (deepest.cause instanceof Error) deepest = deepest.cause;
    throw deepest;
  }
}

/** Some sockets of Node throw where nobody can catch it, which would end the worker. */
async function catchStray(run: () => Promise<unknown>): Promise<unknown> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onError = (event: ErrorEvent) => {
    event.preventDefault();
    reject(event.error);
  };
  addEventListener("error", onError);
  try {
    return await Promise.race([run(), promise]);
  } finally {
    removeEventListener("error", onError);
  }
}

async function get(module: typeof http | typeof https, options: https.RequestOptions) {
  const request = module.get(options);
  const [response] = await once(request, "response");
  response.resume();
  await once(response, "end");
  return "answered";
}

function send(socket: dgram.Socket, port: number | undefined): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  socket.once("error", reject);
  const done = (error: Error | null) => error ? reject(error) : resolve("sent");
  if (port === undefined) socket.send("canary", done);
  else socket.send("canary", port, LOOPBACK, done);
  return catchStray(() => promise).finally(() => socket.close());
}

/** Asks the canary for a name, by each of the interfaces that let one choose whom to ask. */
function resolver(port: number): dns.promises.Resolver {
  const found = new dns.promises.Resolver({ timeout: HEARD_MS, tries: 1 });
  found.setServers([`${LOOPBACK}:${port}`]);
  return found;
}

/** The handles under Node's sockets. */
interface TcpHandle {
  connect(request: object, address: string, port: number): number;
  bind(address: string, port: number): number;
  listen(backlog: number): number;
  close(): void;
}
interface UdpHandle {
  bind(address: string, port: number, flags: number): number;
  close(): void;
}
interface NameHandle {
  setServers(servers: [family: number, address: string, port: number][]): number;
  queryA(request: object, name: string): number;
}
interface PipeHandle {
  connect(request: object, path: string): number;
  close(): void;
}
type Binding = (name: string) => Record<string, new (...args: number[]) => never>;
const binding = (name: string) => (process as unknown as { binding: Binding }).binding(name);

/** Connects a handle; its interface tells of failure by a number. */
async function connectHandle(begin: (request: object) => number): Promise<unknown> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const status = begin({ oncomplete: resolve }) || await promise;
  return succeed(status) && "connected";
}

/** What a handle's method returns is an error's number, negative, or 0. */
function succeed(status: number): true {
  if (status === -1 || status === -13) throw new Refused(`status ${status}`);
  if (status !== 0) throw new Error(`status ${status}`);
  return true;
}

/** Where every process has its channel to the supervisor. */
const CHANNEL = 4;

const AF_UNIX = 1;
const AF_INET = 2;
const AF_INET6 = 10;
const AF_NETLINK = 16;
const AF_PACKET = 17;
const AF_ALG = 38;
const AF_VSOCK = 40;
const STREAM = 1;
const DATAGRAM = 2;
const RAW = 3;
const PACKETS = 5;
const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;
const MSG_FASTOPEN = 0x20000000;

/** Options that would outlive the worker on a listener, or make a socket something else. */
const OPTIONS: readonly [name: string, level: number, option: number][] = [
  ["so_attach_filter", SOL_SOCKET, 26],
  ["so_attach_bpf", SOL_SOCKET, 50],
  ["so_attach_reuseport_ebpf", SOL_SOCKET, 52],
  ["so_rcvbuf", SOL_SOCKET, 8],
  ["so_reuseport", SOL_SOCKET, 15],
  ["ip_transparent", IPPROTO_IP, 19],
  ["tcp_repair", IPPROTO_TCP, 19],
  ["tcp_defer_accept", IPPROTO_TCP, 9],
  ["tcp_ulp", IPPROTO_TCP, 31],
];

/** A struct sockaddr_in. */
function address4(port: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(AF_INET, 0, port >> 8, port & 255, 127, 0, 0, 1, ...new Uint8Array(8));
}

/** A struct sockaddr_in6 with the IPv4 loopback mapped into it. */
function address6(port: number): Uint8Array<ArrayBuffer> {
  const mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1];
  return Uint8Array.of(AF_INET6, 0, port >> 8, port & 255, 0, 0, 0, 0, ...mapped, 0, 0, 0, 0);
}

/** A struct sockaddr_un, which is as long as its path. */
function addressUnix(path: string): Uint8Array<ArrayBuffer> {
  const end = path.startsWith("\0") ? [] : [0];
  return Uint8Array.of(AF_UNIX, 0, ...new TextEncoder().encode(path), ...end);
}

/** Connects a socket by system calls alone, and says something. */
function dialNatively(family: number, address: Uint8Array<ArrayBuffer>): string {
  const fd = must("socket", family, STREAM, 0);
  try {
    must("connect", fd, address, address.length);
    return `wrote ${must("write", fd, "canary", 6)} bytes`;
  } finally {
    must("close", fd);
  }
}

/** Asks for a socket of a kind; that the kernel has no such kind is an answer, too. */
function opensSocket(family: number, type: number, protocol = 0): string {
  const { value, errno } = call("socket", family, type, protocol);
  if (errno === 0) must("close", value);
  return errno === 0 ? "a socket" : reaches("socket", family, type, protocol);
}

/** A struct msghdr with an address, for one short message. */
function message(address: Uint8Array<ArrayBuffer>): {
  readonly header: Uint8Array<ArrayBuffer>;
  readonly parts: readonly Uint8Array<ArrayBuffer>[];
} {
  const text = new TextEncoder().encode("canary");
  const vector = new Uint8Array(new BigUint64Array([addressOf(text), 6n]).buffer);
  const words = [addressOf(address), BigInt(address.length), addressOf(vector), 1n, 0n, 0n, 0n];
  return { header: new Uint8Array(new BigUint64Array(words).buffer), parts: [text, vector] };
}

/** Sends by one end of a pair of datagram sockets to somebody else than its other end. */
function sendAstray(path: string): string {
  const pair = new Uint8Array(8);
  must("socketpair", AF_UNIX, DATAGRAM, 0, pair);
  const [one, other] = new Int32Array(pair.buffer) as unknown as [number, number];
  const address = addressUnix(path);
  const { header, parts } = message(address);
  try {
    // The server's is a stream socket: EPROTOTYPE says that the kernel was about to deliver.
    return `${reaches("sendmsg", one, header, 0)}, ${parts.length} parts`;
  } finally {
    must("close", one);
    must("close", other);
  }
}

/** Gives a socket that it was given an abstract name, which nobody else can take then. */
function takeName(name: string): string {
  const address = addressUnix(`\0${name}`);
  must("bind", CHANNEL, address, address.length);
  const length = new Uint8Array(new Uint32Array([128]).buffer);
  must("getsockname", CHANNEL, new Uint8Array(128), length);
  const found = new Uint32Array(length.buffer)[0]!;
  if (found <= 2) throw new Refused("it is said to be done, and was not");
  return `named, by ${found} bytes`;
}

/** The local port of a socket. */
function portOf(fd: number): number {
  const address = new Uint8Array(16);
  must("getsockname", fd, address, Uint8Array.of(address.length, 0, 0, 0));
  return new DataView(address.buffer).getUint16(2);
}

/** Where there is something to be tried on. */
const LISTENERS = { in: ["worker"], since: "only a worker has a listener" } as const;

/** The descriptor of the worker's listener. */
function findListener(): number {
  const value = new Uint8Array(4);
  for (let fd = 3; fd < 128; fd++) {
    const { errno } = call("getsockopt", fd, SOL_SOCKET, 30, value, Uint8Array.of(4, 0, 0, 0));
    if (errno === 0 && value[0] === 1) return fd;
  }
  throw new Error("No listener found");
}

/** Sets that closing a connection throws away what was not sent yet, and takes it back. */
function lingerOnListener(): string {
  const SO_LINGER = 13;
  const fd = findListener();
  const set = (...[on, seconds]: [number, number]) => {
    const value = new Uint8Array(new Int32Array([on, seconds]).buffer);
    must("setsockopt", fd, SOL_SOCKET, SO_LINGER, value, value.length);
  };
  set(1, 0);
  set(0, 0);
  return "was set";
}

/** Makes what a listener's next wait for a client depends on wrong, and right again. */
function blockListener(): string {
  const [F_GETFL, F_SETFL, O_NONBLOCK] = [3, 4, 0o4000];
  const fd = findListener();
  const flags = must("fcntl", fd, F_GETFL);
  try {
    must("fcntl", fd, F_SETFL, flags & ~O_NONBLOCK);
    return `${flags} became ${must("fcntl", fd, F_GETFL)}`;
  } finally {
    must("fcntl", fd, F_SETFL, flags);
  }
}

/** Calls that the kernel looks at only to find that there is no such descriptor. */
function onNoDescriptor(
  id: string,
  title: string,
  ...[name, ...args]: Parameters<typeof reaches>
): Attempt {
  return claim(id, title, () => {
    if (call(name, -1, ...args).errno === 0) {
      throw new Refused("it is said to be done, and was not");
    }
    return reaches(name, -1, ...args);
  });
}

const WEB: readonly Attempt[] = [
  contact("NW1.fetch", "fetch", ({ tcpPort }) => readAll(`http://${LOOPBACK}:${tcpPort}/`)),
  contact("NW1.connect", "Deno.connect", async ({ tcpPort }) => {
    using connection = await Deno.connect({ hostname: LOOPBACK, port: tcpPort });
    return await connection.write(new Uint8Array(1));
  }),
  contact("NW1.connect_tls", "Deno.connectTls", async ({ tcpPort }) => {
    using connection = await Deno.connectTls({ hostname: LOOPBACK, port: tcpPort });
    return await connection.handshake();
  }),
  contact("NW1.web_socket", "a WebSocket", async ({ tcpPort }) => {
    const socket = new WebSocket(`ws://${LOOPBACK}:${tcpPort}/`);
    const { promise, reject } = Promise.withResolvers<never>();
    socket.onerror = (event) => reject((event as ErrorEvent).error);
    await promise;
  }, { refusal: /tcp (open|connect) error$/ }),
  contact("NW1.event_source", "an EventSource", async ({ tcpPort }) => {
    const source = new EventSource(`http://${LOOPBACK}:${tcpPort}/`);
    const { promise, reject } = Promise.withResolvers<never>();
    // It tells nobody why.
    source.onerror = () => reject(new Error("Not connected"));
    await promise.finally(() => source.close());
  }, { refusal: /^Not connected$/ }),
  contact("NW1.web_worker", "fetch in a Web Worker", ({ tcpPort }) =>
    inWebWorker(async (url) => {
      try {
        return await (await fetch(url)).text();
      } catch (error) {
        throw (error as Error).cause ?? error;
      }
    }, `http://${LOOPBACK}:${tcpPort}/`)),
];

const NODE: readonly Attempt[] = [
  contact(
    "NW2.http",
    "http.get of Node",
    ({ tcpPort }) => get(http, { host: LOOPBACK, port: tcpPort }),
  ),
  contact(
    "NW2.https",
    "https.get of Node",
    ({ tcpPort }) => get(https, { host: LOOPBACK, port: tcpPort }),
  ),
  contact(
    "NW2.net",
    "net.connect of Node",
    ({ tcpPort }) => reached(net.connect(tcpPort, LOOPBACK), "connect"),
  ),
  contact(
    "NW2.tls",
    "tls.connect of Node",
    ({ tcpPort }) => reached(tls.connect({ host: LOOPBACK, port: tcpPort }), "secureConnect"),
  ),
  contact("NW2.http2", "http2.connect of Node", async ({ tcpPort }) => {
    const session = http2.connect(`http://${LOOPBACK}:${tcpPort}`);
    await once(session, "connect").finally(() => session.destroy());
  }),
  contact(
    "NW2.web_worker",
    "net.connect of Node in a Web Worker",
    ({ tcpPort }) =>
      inWebWorker(async (port) => {
        const { connect } = await import("node:net");
        const socket = connect(port, "127.0.0.1");
        await new Promise((resolve, reject) => socket.on("connect", resolve).on("error", reject));
      }, tcpPort),
  ),
  contact(
    "NW2.node_worker",
    "net.connect of Node in a worker thread of Node",
    async ({ tcpPort }) => {
      const worker = new NodeWorker(
        `const { parentPort } = require("node:worker_threads");
       process.on("uncaughtException", ({ message }) => parentPort.postMessage(message));
       require("node:net").connect(${tcpPort}, "${LOOPBACK}", () => parentPort.postMessage("done"));`,
        { eval: true },
      );
      const [said] = await once(worker, "message").finally(() => worker.terminate());
      if (said !== "done") throw new Error(said);
    },
  ),
  contact("NW2.binding", "the TCP handle under Node's sockets", async ({ tcpPort }) => {
    const { TCP, TCPConnectWrap } = binding("tcp_wrap");
    const handle: TcpHandle = new TCP!(0);
    try {
      return await connectHandle((request) =>
        handle.connect(Object.assign(new TCPConnectWrap!() as object, request), LOOPBACK, tcpPort)
      );
    } finally {
      handle.close();
    }
  }),
  contact(
    "NW3.lookup",
    "a name that a lookup of one's own turns into an address",
    ({ tcpPort }) => {
      const lookup: net.LookupFunction = (_name, options, done) =>
        options.all ? done(null, [{ address: LOOPBACK, family: 4 }]) : done(null, LOOPBACK, 4);
      return reached(net.connect({ host: "name.invalid", port: tcpPort, lookup }), "connect");
    },
    { note: "GHSA-fhjh-jqv7-m238" },
  ),
];

/** Deno has no number for a refusal to send. */
const UNKNOWN_SEND = { refusal: /^send UNKNOWN/ } as const;

const DATAGRAMS: readonly Attempt[] = [
  contact(
    "NW2.datagram",
    "a datagram by dgram of Node",
    ({ udpPort }) => send(dgram.createSocket("udp4"), udpPort),
    UNKNOWN_SEND,
  ),
  contact("NW2.datagram_connected", "a datagram by a connected socket", async ({ udpPort }) => {
    const socket = dgram.createSocket("udp4");
    socket.connect(udpPort, LOOPBACK);
    await catchStray(() => once(socket, "connect"));
    return await send(socket, undefined);
  }, UNKNOWN_SEND),
  contact("NW2.native_datagram", "a datagram by system calls", ({ udpPort }) => {
    const fd = must("socket", AF_INET, DATAGRAM, 0);
    const address = address4(udpPort);
    const sent = must("sendto", fd, "canary", 6, 0, address, address.length);
    must("close", fd);
    return sent;
  }),
  contact("NW2.native_route", "a datagram on a route that was only asked for", ({ udpPort }) => {
    const fd = must("socket", AF_INET, DATAGRAM, 0);
    // The C library asks so how an address would be reached.
    const route = address4(0);
    must("connect", fd, route, route.length);
    const address = address4(udpPort);
    const sent = must("sendto", fd, "canary", 6, 0, address, address.length);
    must("close", fd);
    return sent;
  }),
  contact("NW2.native_message", "a datagram by sendmsg(2)", ({ udpPort }) => {
    const fd = must("socket", AF_INET, DATAGRAM, 0);
    const { header, parts } = message(address4(udpPort));
    const sent = must("sendmsg", fd, header, 0);
    must("close", fd);
    return `${sent} bytes of ${parts.length} parts`;
  }),
];

const BINDING: readonly Attempt[] = [
  claim("NW7.datagram", "binding a datagram socket of Node", ({ freePort }) => {
    const socket = dgram.createSocket("udp4");
    socket.bind(freePort, LOOPBACK);
    return reached(socket, "listening");
  }),
  claim("NW7.datagram_binding", "binding the UDP handle under Node's sockets", ({ freePort }) => {
    const { UDP } = binding("udp_wrap");
    const handle: UdpHandle = new UDP!();
    try {
      return succeed(handle.bind(LOOPBACK, freePort, 0));
    } finally {
      handle.close();
    }
  }),
];

const LOOKUPS: readonly Attempt[] = [
  claim("NW4.lookup", "dns.lookup of Node", () => dns.promises.lookup("localhost"), {
    refusal: /^getaddrinfo EAI_AGAIN/,
  }),
  claim(
    "NW4.lookup_service",
    "dns.lookupService of Node",
    () => dns.promises.lookupService(LOOPBACK, 80),
    { refusal: /^getnameinfo EAI_AGAIN/ },
  ),
];

const NAMES: readonly Attempt[] = [
  contact(
    "NW4.resolve_dns",
    "Deno.resolveDns by a server of one's choice",
    ({ udpPort }) =>
      heard(Deno.resolveDns("secret.test.", "A", {
        nameServer: { ipAddr: LOOPBACK, port: udpPort },
      })),
  ),
  contact(
    "NW4.resolver",
    "dns.Resolver of Node with a server of one's choice",
    ({ udpPort }) => heard(resolver(udpPort).resolve4("secret.test")),
    { refusal: /^queryA UNKNOWN/ },
  ),
  contact(
    "NW4.resolver_text",
    "the same, for a text record",
    ({ udpPort }) => heard(resolver(udpPort).resolveTxt("secret.test")),
    { refusal: /^queryTxt UNKNOWN/ },
  ),
  contact(
    "NW4.binding",
    "the handle under Node's resolvers, which looks at no permission for a server's address",
    ({ udpPort }) => {
      const { ChannelWrap, QueryReqWrap } = binding("cares_wrap");
      const handle: NameHandle = new ChannelWrap!(HEARD_MS, 1);
      succeed(handle.setServers([[4, LOOPBACK, udpPort]]));
      const { promise, resolve } = Promise.withResolvers<number>();
      const request = { bindingName: "queryA", hostname: "secret.test", oncomplete: resolve };
      succeed(handle.queryA(Object.assign(new QueryReqWrap!() as object, request), "secret.test"));
      return heard(promise.then(succeed));
    },
    // Deno has one number for all that it has no number for, and a refusal is of that.
    { refusal: /^status -4094$/ },
  ),
];

/** Ways to write 127.0.0.1. */
const SPELLINGS: readonly [name: string, host: string][] = [
  ["decimal", "2130706433"],
  ["hexadecimal", "0x7f.1"],
  ["octal", "0177.0.0.1"],
  ["short", "127.1"],
  ["any", "0.0.0.0"],
  ["name", "localhost"],
  ["mapped", "[::ffff:127.0.0.1]"],
];

const ADDRESSES: readonly Attempt[] = [
  ...SPELLINGS.map(([name, host]) =>
    contact(
      `NW5.${name}`,
      `fetch of http://${host}/`,
      ({ tcpPort }) => readAll(`http://${host}:${tcpPort}/`),
      name === "name" ? { refusal: /failed to lookup address/ } : {},
    )
  ),
  contact(
    "NW5.node_mapped",
    "net.connect of Node to ::ffff:127.0.0.1",
    ({ tcpPort }) => reached(net.connect(tcpPort, "::ffff:127.0.0.1"), "connect"),
  ),
  contact("NW5.deno_any", "Deno.connect to 0.0.0.0", async ({ tcpPort }) => {
    using connection = await Deno.connect({ hostname: "0.0.0.0", port: tcpPort });
    return connection.remoteAddr;
  }),
];

const LISTENING: readonly Attempt[] = [
  claim("NW7.listen", "Deno.listen", ({ freePort: port }) => {
    using listener = Deno.listen({ hostname: LOOPBACK, port });
    return listener.addr;
  }),
  claim("NW7.listen_anywhere", "Deno.listen on a port of the system's choice", () => {
    using listener = Deno.listen({ port: 0 });
    return listener.addr;
  }),
  // A worker takes the first server of its own realm as the app's: another realm has the runtime's.
  claim("NW7.serve", "Deno.serve, in a Web Worker", ({ freePort }) =>
    inWebWorker(async (port) => {
      const handler = () => new Response();
      await using server = Deno.serve({ hostname: "127.0.0.1", port, onListen() {} }, handler);
      return server.addr;
    }, freePort)),
  claim(
    "NW7.net",
    "a net.Server of Node",
    ({ freePort }) => reached(net.createServer().listen(freePort, LOOPBACK), "listening"),
  ),
  claim(
    "NW7.http",
    "an http.Server of Node",
    ({ freePort }) => {
      // Not by its own method, which a worker answers for the app.
      const { listen } = net.Server.prototype;
      const server = http.createServer();
      return reached(
        Reflect.apply(listen, server, [freePort, LOOPBACK]) as net.Server,
        "listening",
      );
    },
  ),
  claim(
    "NW7.http2",
    "an http2 server of Node",
    ({ freePort }) => reached(http2.createServer().listen(freePort, LOOPBACK), "listening"),
  ),
  claim(
    "NW7.tls",
    "a tls.Server of Node",
    ({ freePort }) => reached(tls.createServer().listen(freePort, LOOPBACK), "listening"),
  ),
  claim("NW7.binding", "listening by the TCP handle under Node's servers", ({ freePort }) => {
    const { TCP } = binding("tcp_wrap");
    const handle: TcpHandle = new TCP!(1);
    try {
      return succeed(handle.bind(LOOPBACK, freePort) || handle.listen(1));
    } finally {
      handle.close();
    }
  }),
];

const UNIX: readonly Attempt[] = [
  contact("NW8.connect", "Deno.connect to a Unix socket", async ({ unixSocket: path }) => {
    using connection = await Deno.connect({ transport: "unix", path });
    return await connection.write(new Uint8Array(1));
  }, { note: "GHSA-rjhc-mq2r-fp9w" }),
  contact("NW8.connect_inside", "Deno.connect to a Unix socket in the unveiled folder", async (
    { insideSocket: path },
  ) => {
    using connection = await Deno.connect({ transport: "unix", path });
    return await connection.write(new Uint8Array(1));
  }),
  contact(
    "NW8.node",
    "net.connect of Node to a Unix socket",
    ({ unixSocket }) => reached(net.connect(unixSocket), "connect"),
    { note: "GHSA-rjhc-mq2r-fp9w" },
  ),
  contact(
    "NW8.node_inside",
    "the same, in the unveiled folder",
    ({ insideSocket }) => reached(net.connect(insideSocket), "connect"),
  ),
  contact("NW8.http", "http.get of Node by a Unix socket in the unveiled folder", (
    { insideSocket: socketPath },
  ) => get(http, { socketPath })),
  contact("NW8.binding", "the pipe handle under Node's Unix sockets", async ({ insideSocket }) => {
    const { Pipe, PipeConnectWrap } = binding("pipe_wrap");
    const handle: PipeHandle = new Pipe!(0);
    try {
      return await connectHandle((request) =>
        handle.connect(Object.assign(new PipeConnectWrap!() as object, request), insideSocket)
      );
    } finally {
      handle.close();
    }
  }),
  contact("NW8.link", "Deno.connect by a link that leads to a server's", async ({ inside }) => {
    using connection = await Deno.connect({ transport: "unix", path: `${inside}/socket_link` });
    return await connection.write(new Uint8Array(1));
  }),
  claim("NW8.listen", "Deno.listen on a Unix socket in the unveiled folder", ({ inside }) => {
    using listener = Deno.listen({ transport: "unix", path: `${inside}/new.sock` });
    return listener.addr;
  }),
  claim(
    "NW8.node_listen",
    "a net.Server of Node there",
    ({ inside }) => reached(net.createServer().listen(`${inside}/new.sock`), "listening"),
  ),
  contact("NW9.connect", "Deno.connect to an abstract Unix socket", async ({ abstractSocket }) => {
    using connection = await Deno.connect({ transport: "unix", path: `\0${abstractSocket}` });
    return await connection.write(new Uint8Array(1));
  }),
  contact(
    "NW9.node",
    "net.connect of Node to an abstract Unix socket",
    ({ abstractSocket }) => reached(net.connect(`\0${abstractSocket}`), "connect"),
  ),
  claim(
    "NW9.node_listen",
    "a net.Server of Node on an abstract Unix socket",
    ({ nonce }) => reached(net.createServer().listen(`\0${nonce}`), "listening"),
  ),
];

/** Asks a proxy for a page that does not exist. */
async function byProxy(proxy: Deno.Proxy): Promise<string> {
  using client = Deno.createHttpClient({ proxy });
  return await readAll("http://name.invalid/", { client });
}

const PROXIES: readonly Attempt[] = [
  contact(
    "NW10.http",
    "fetch by a proxy",
    ({ tcpPort }) => byProxy({ url: `http://${LOOPBACK}:${tcpPort}` }),
  ),
  contact(
    "NW10.socks",
    "fetch by a SOCKS proxy",
    ({ tcpPort }) => byProxy({ url: `socks5://${LOOPBACK}:${tcpPort}` }),
    { refusal: /Proxy server unreachable$/ },
  ),
  contact(
    "NW10.tcp",
    "fetch by a TCP proxy",
    ({ tcpPort: port }) => byProxy({ transport: "tcp", hostname: LOOPBACK, port }),
  ),
  contact("NW10.environment", "fetch by a proxy that the environment names", ({ tcpPort }) => {
    Deno.env.set("HTTP_PROXY", `http://${LOOPBACK}:${tcpPort}`);
    return readAll("http://name.invalid/");
  }, { alone: true }),
  contact("NW10.node_environment", "http.get of Node by a proxy from the environment", (
    { tcpPort },
  ) => {
    const proxyEnv = { HTTP_PROXY: `http://${LOOPBACK}:${tcpPort}` };
    const agent = new http.Agent({ proxyEnv } as http.AgentOptions);
    return get(http, { host: "name.invalid", agent });
  }),
];

const UNIX_PROXY: readonly Attempt[] = [
  contact(
    "NW10.unix",
    "fetch by a Unix socket in the unveiled folder",
    ({ insideSocket: path }) => byProxy({ transport: "unix", path }),
  ),
];

const INSPECTOR: readonly Attempt[] = [
  claim("NW12.open", "opening the debugger's port", ({ freePort }) => {
    inspector.open(freePort, LOOPBACK);
    return inspector.url();
  }, { alone: true }),
  contact("NW12.other_process", "asking another process to open its own", ({ canaryPid }) => {
    (process as unknown as { _debugProcess(pid: number): void })._debugProcess(canaryPid);
  }, { proof: "canary" }),
];

const NATIVE_DIALLING: readonly Attempt[] = [
  contact(
    "NW1.native",
    "a TCP connection by system calls",
    ({ tcpPort }) => dialNatively(AF_INET, address4(tcpPort)),
  ),
  contact(
    "NW5.native_mapped",
    "the same, by IPv6",
    ({ tcpPort }) => dialNatively(AF_INET6, address6(tcpPort)),
  ),
];

const NATIVE: readonly Attempt[] = [
  contact(
    "NW8.native",
    "a Unix socket by system calls",
    ({ unixSocket }) => dialNatively(AF_UNIX, addressUnix(unixSocket)),
  ),
  contact(
    "NW8.native_inside",
    "the same, in the unveiled folder",
    ({ insideSocket }) => dialNatively(AF_UNIX, addressUnix(insideSocket)),
  ),
  contact(
    "NW9.native",
    "an abstract Unix socket by system calls",
    ({ abstractSocket }) => dialNatively(AF_UNIX, addressUnix(`\0${abstractSocket}`)),
  ),
  contact(
    "NW8.native_link",
    "the same, by a link in the unveiled folder that leads to a server's",
    ({ inside }) => dialNatively(AF_UNIX, addressUnix(`${inside}/socket_link`)),
  ),
  contact(
    "NW8.native_spelled",
    "a Unix socket by a path that begins as one that it may dial",
    ({ dialled, folder, unixSocket }) => {
      const from = dirname(dialled || `${folder}/servers/none.sock`);
      // As long as an address may be: the way out of a deep folder takes the most of it.
      return dialNatively(AF_UNIX, addressUnix(`${from}/${relative(from, unixSocket)}`));
    },
  ),
  claim(
    "NW8.native_datagrams",
    "a Unix socket for datagrams, which could send to any that has a name",
    () => opensSocket(AF_UNIX, DATAGRAM),
  ),
  claim("NW8.native_packets", "one for packets", () => opensSocket(AF_UNIX, PACKETS)),
  claim(
    "NW9.native_name",
    "taking an abstract name by the channel, a socket that it was given",
    ({ nonce }) => takeName(nonce),
    { alone: true },
  ),
  claim(
    "NW8.native_pair",
    "a message to a Unix socket by one end of a pair",
    ({ unixSocket }) => sendAstray(unixSocket),
    { note: "sendmsg(2) has its address behind a pointer: the pair itself must be refused" },
  ),
  claim("NW7.native", "listening by system calls", ({ freePort }) => {
    const fd = must("socket", AF_INET, STREAM, 0);
    const address = address4(freePort);
    must("bind", fd, address, address.length);
    must("listen", fd, 1);
    const port = portOf(fd);
    must("close", fd);
    if (port !== freePort) throw new Refused(`it listens on port ${port}`);
    return "listened";
  }),
  claim(
    "NW7.native_unbound",
    "listening without a local address, on a port of the kernel's",
    () => {
      const fd = must("socket", AF_INET, STREAM, 0);
      try {
        must("listen", fd, 1);
        if (portOf(fd) === 0) throw new Refused("it is said to be done, and was not");
        return `listens on ${portOf(fd)}`;
      } finally {
        must("close", fd);
      }
    },
  ),
  claim("NW16.netlink", "a netlink socket", () => opensSocket(AF_NETLINK, RAW)),
  claim("NW16.algorithm", "a socket to the kernel's cryptography", () => opensSocket(AF_ALG, 5)),
  claim("NW16.virtual", "a socket to the machine's host", () => opensSocket(AF_VSOCK, STREAM)),
  claim(
    "NW16.multipath",
    "a socket for several paths, whose ports Landlock does not rule",
    () => opensSocket(AF_INET, STREAM, 262),
  ),
  claim("NW16.pair", "a pair of sockets of a family that is not Unix's", () => {
    return reaches("socketpair", AF_INET, STREAM, 0, new Uint8Array(8));
  }),
  claim("NW16.packet", "a socket for raw frames", () => opensSocket(AF_PACKET, RAW), {
    needs: "root",
  }),
  claim("NW16.raw", "a raw IP socket", () => opensSocket(AF_INET, RAW, 1), { needs: "root" }),
  claim(
    "NW16.ring",
    "calls by a ring of the kernel's, past every filter of calls",
    () => reaches("io_uring_setup", 1, 0),
  ),
  onNoDescriptor("NW16.ring_enter", "submitting to a ring", "io_uring_enter"),
  onNoDescriptor("NW16.ring_register", "changing a ring", "io_uring_register"),
  ...openWith("anybody", [
    onNoDescriptor("NW14.connect", "connect(2) of a socket that is there", "connect", 0, 0),
  ]),
  ...openWith("binding", [
    onNoDescriptor("NW14.bind", "bind(2) of a socket that is there", "bind", 0, 0),
  ]),
  ...openWith("names", [
    onNoDescriptor(
      "NW14.send_to",
      "a datagram to an address by a socket that is there",
      ...["sendto", "canary", 6, 0, address4(9), 16] as const,
    ),
  ]),
  onNoDescriptor("NW14.listen", "listen(2) of a socket that is there", "listen", 1),
  onNoDescriptor(
    "NW14.fast_open",
    "dialling by the first bytes that are sent",
    ...["sendto", "canary", 6, MSG_FASTOPEN, 0, 0] as const,
  ),
  onNoDescriptor(
    "NW14.fast_open_message",
    "dialling by the first message",
    ...["sendmsg", 0, MSG_FASTOPEN] as const,
  ),
  onNoDescriptor(
    "NW14.fast_open_messages",
    "dialling by the first of several messages",
    ...["sendmmsg", 0, 1, MSG_FASTOPEN] as const,
  ),
  ...OPTIONS.map(([name, level, option]) =>
    onNoDescriptor(
      `NW14.option_${name}`,
      `${name.toUpperCase()} on a socket that is shared`,
      ...["setsockopt", level, option, new Uint8Array(16), 16] as const,
    )
  ),
  onNoDescriptor("NW17.shutdown", "ending the listener for everybody", "shutdown", 0),
  onNoDescriptor("NW17.shutdown_both", "the same, both ways", "shutdown", 2),
  claim("NW17.linger", "having everybody's connections end in the middle", lingerOnListener, {
    only: LISTENERS,
    note: "a connection inherits its listener's settings",
  }),
  claim("NW17.queue", "leaving no room for clients that wait", shortenQueue, { only: LISTENERS }),
  claim("NW17.keep_alive", "having everybody's connections probed", keepAliveOnListener, {
    only: LISTENERS,
    kernel: "open",
    note:
      "no filter tells a listener from a connection; the supervisor sets it back within a second",
  }),
  claim("NW17.blocking", "making everybody's wait for a client a blocking one", blockListener, {
    only: LISTENERS,
    kernel: "open",
    note:
      "a listener's flags are shared by all who hold it, and no filter tells it from a connection",
  }),
];

/** How long a listener's queue may be, as TCP_INFO tells it of one. */
function queueOf(fd: number): number {
  const [TCP_INFO, SACKED] = [11, 28];
  const info = new Uint8Array(104);
  must("getsockopt", fd, IPPROTO_TCP, TCP_INFO, info, Uint8Array.of(info.length, 0, 0, 0));
  return new DataView(info.buffer).getUint32(SACKED, true);
}

/** Leaves no room for clients that wait, and takes it back. */
function shortenQueue(): string {
  const fd = findListener();
  const before = queueOf(fd);
  must("listen", fd, 1);
  const after = queueOf(fd);
  if (after === before) throw new Refused("it is said to be done, and was not");
  must("listen", fd, before);
  return `${before} became ${after}`;
}

/** Has everybody's connections ask whether the other end is there, and takes it back. */
function keepAliveOnListener(): string {
  const [SO_KEEPALIVE, on] = [9, Uint8Array.of(1, 0, 0, 0)];
  const fd = findListener();
  must("setsockopt", fd, SOL_SOCKET, SO_KEEPALIVE, on, 4);
  must("setsockopt", fd, SOL_SOCKET, SO_KEEPALIVE, new Uint8Array(4), 4);
  return "was set";
}

export const NETWORKING: readonly Attempt[] = [
  ...[...WEB, ...NODE, ...ADDRESSES, ...PROXIES, ...NATIVE_DIALLING, ...DATAGRAMS, ...NAMES],
  // With addresses alone nothing that names are found by can be read.
  ...openWith("names", [...BINDING, ...LOOKUPS]),
  ...LISTENING,
  ...UNIX,
  ...UNIX_PROXY,
  ...INSPECTOR,
  ...NATIVE,
];
