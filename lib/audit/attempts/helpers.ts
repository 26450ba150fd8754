/** What a worker and its helpers could do to each other: grants, processes, lanes, handed descriptors. */
import { Buffer } from "node:buffer";
import { readFileSync, readlinkSync, readSync, writeFileSync } from "node:fs";
import net, { type Socket } from "node:net";
import process from "node:process";
import type { Attempt, World } from "../attempt.ts";
import { addressOf, AT_FDCWD, call, must, reaches, readNatively } from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

/** Where the supervisor hands descriptors over. */
const HAND_OVER_FD = 3;

/** How long the other end may take to hang up. */
const HANG_UP_MS = 20_000;

/** How many descriptors are sent at once. */
const MANY = 64;

const NOT_IN_WORKER = {
  in: ["helper", "logger"],
  since: "what it is about is the worker's own",
} as const;
const BY_WORKER = { in: ["worker"], since: "only a worker calls" } as const;
const BY_HELPER = { in: ["helper"], since: "only a helper answers" } as const;

type More = Partial<Attempt>;

/** An attempt that both layers stop. */
function stopped(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return {
    ...{ id, area: "helper", title, deno: "stops", kernel: "stops", proof: "claim", ...more },
    run,
  };
}

/** One that happens, and harms nobody: the auditor looks at everybody around it. */
function bounded(
  id: string,
  title: string,
  note: string,
  run: Attempt["run"],
  more: More = {},
): Attempt {
  return {
    ...{ id, area: "helper", title, deno: "contained", kernel: "contained", note },
    ...{ proof: "bounded", alone: true, ...more },
    run,
  };
}

// ---- what others are granted ----

/** Whose folder and port, and in whose place it makes sense to try. */
interface Foreign {
  readonly name: "helper" | "worker";
  readonly who: string;
  readonly folder: (world: World) => string;
  readonly port: (world: World) => number;
  readonly pid: (world: World) => number;
  readonly more: More;
}

const FOREIGN: readonly Foreign[] = [
  {
    name: "helper",
    who: "a helper",
    folder: ({ helperFolder }) => helperFolder,
    port: ({ helperPort }) => helperPort,
    pid: ({ helperPid }) => helperPid,
    more: {},
  },
  {
    name: "worker",
    who: "the worker",
    folder: ({ workerFolder }) => workerFolder,
    port: ({ workerPort }) => workerPort,
    pid: ({ workerPid }) => workerPid,
    more: { only: NOT_IN_WORKER },
  },
];

/** struct sockaddr_in of 127.0.0.1. */
function addressOfPort(port: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(2, 0, port >> 8, port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0);
}

function ofGrants({ name, who, folder, port, more }: Foreign): Attempt[] {
  const secret: More = { proof: "secret", ...more };
  const change: More = { proof: "change", ...more };
  const contact: More = { proof: "contact", ...more };
  return [
    stopped(
      `HG1.${name}_read`,
      `reading what is unveiled to ${who}`,
      (world) => Deno.readTextFile(`${folder(world)}/secret.txt`),
      secret,
    ),
    stopped(
      `HG1.${name}_node`,
      `the same by fs.readFileSync, where ${who} reads`,
      (world) => readFileSync(`${folder(world)}/secret.txt`, "utf8"),
      secret,
    ),
    stopped(
      `HG1.${name}_native`,
      `the same by open(2), where ${who} reads`,
      (world) => readNatively(`${folder(world)}/secret.txt`),
      secret,
    ),
    stopped(
      `HG1.${name}_list`,
      `listing the folder of ${who}`,
      (world) => Array.from(Deno.readDirSync(folder(world)), (entry) => entry.name),
      more,
    ),
    stopped(
      `HG2.${name}_write`,
      `writing to what is unveiled to ${who}`,
      (world) => Deno.writeTextFile(`${folder(world)}/file.txt`, "changed"),
      change,
    ),
    stopped(
      `HG2.${name}_create`,
      `making a file in the folder of ${who}`,
      (world) => writeFileSync(`${folder(world)}/new.txt`, "new"),
      change,
    ),
    stopped(
      `HG2.${name}_native`,
      `emptying a file of ${who} by truncate(2)`,
      (world) => must("truncate", `${folder(world)}/file.txt`, 0),
      change,
    ),
    stopped(`HG3.${name}_dial`, `connecting to the port that ${who} may dial`, async (world) => {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: port(world) });
      return connection.remoteAddr;
    }, contact),
    stopped(
      `HG3.${name}_native`,
      `the same by connect(2), the port that ${who} may dial`,
      (world) => {
        const fd = must("socket", 2, 1, 0);
        try {
          const address = addressOfPort(port(world));
          must("connect", fd, address, address.length);
          return must("write", fd, "canary", 6);
        } finally {
          must("close", fd);
        }
      },
      contact,
    ),
  ];
}

// ---- their processes ----

function ofProcesses({ name, who, pid, more }: Foreign): Attempt[] {
  const files = ["environ", "cmdline", "maps", "mem"] as const;
  return [
    ...files.map((file) =>
      stopped(`HP1.${name}_${file}`, `opening ${file} of ${who}`, (world) => {
        Deno.openSync(`/proc/${pid(world)}/${file}`).close();
        return true;
      }, more)
    ),
    stopped(
      `HP1.${name}_files`,
      `where the hand-over socket of ${who} leads`,
      (world) => readlinkSync(`/proc/${pid(world)}/fd/${HAND_OVER_FD}`),
      more,
    ),
    stopped(
      `HP1.${name}_link_native`,
      `readlink(2) of a descriptor of ${who}`,
      (world) => must("readlinkat", AT_FDCWD, `/proc/${pid(world)}/fd/0`, new Uint8Array(256), 256),
      more,
    ),
    stopped(
      `HP2.${name}_kill`,
      `process.kill(${name}, 0): may it be signalled?`,
      (world) => process.kill(pid(world), 0),
      more,
    ),
    stopped(
      `HP2.${name}_native`,
      `kill(2) of ${who} with signal 0`,
      (world) => must("kill", pid(world), 0),
      more,
    ),
    stopped(`HP2.${name}_pidfd`, `pidfd_send_signal(2) to ${who} with signal 0`, (world) => {
      return must("pidfd_send_signal", must("pidfd_open", pid(world), 0), 0, 0, 0);
    }, more),
    stopped(`HP3.${name}_seize`, `ptrace(2): seize ${who}`, (world) => {
      return must("ptrace", /* PTRACE_SEIZE */ 0x4206, pid(world), 0, 0);
    }, { alone: true, ...more }),
    stopped(`HP3.${name}_memory`, `process_vm_readv(2) on ${who}`, (world) => {
      const bytes = new Uint8Array(8);
      const local = new Uint8Array(new BigUint64Array([addressOf(bytes), 8n]).buffer);
      const remote = new Uint8Array(new BigUint64Array([1n, 8n]).buffer);
      // The remote address is nobody's: nothing is read.
      return reaches("process_vm_readv", pid(world), local, 1, remote, 1, 0);
    }, more),
    stopped(`HP3.${name}_getfd`, `pidfd_getfd(2): take a lane of ${who}`, (world) => {
      return must("pidfd_getfd", must("pidfd_open", pid(world), 0), HAND_OVER_FD, 0);
    }, more),
    stopped(`HP3.${name}_limit`, `prlimit64(2): read a limit of ${who}`, (world) => {
      return must("prlimit64", pid(world), /* RLIMIT_NOFILE */ 7, 0, new Uint8Array(16));
    }, more),
  ];
}

// ---- lanes ----

/** A frame of a lane. */
function frame(kind: number, id: number, ...payload: Uint8Array[]): Buffer<ArrayBuffer> {
  const header = Buffer.alloc(12);
  header.writeUInt32BE(payload.reduce((sum, { length }) => sum + length, 0));
  header[4] = kind;
  header.writeUInt32BE(id, 8);
  return Buffer.concat([header, ...payload]);
}

const [HELLO, CALL, RESULT, CANCEL, CHUNK] = [1, 2, 3, 5, 6] as const;

/** A head as a payload. */
function head(value: unknown): Buffer<ArrayBuffer> {
  const text = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
  const length = Buffer.alloc(4);
  length.writeUInt32BE(text.length);
  return Buffer.concat([length, text]);
}

const WAIT = { method: "wait", timeoutMs: 5_000, value: 0, parts: [] };

/** An id that no call has come to. */
const NOBODYS = 0xfff0_0000;

type Client = Record<string, (input: unknown) => Promise<unknown>>;

/** The client of the helper that the scene has. */
function clientOf({ helperName }: World): Client {
  const clients = globalThis as unknown as Record<
    symbol,
    (name: string, contract: object) => Client
  >;
  return clients[Symbol.for("holdfast.helpers")]!(helperName, {});
}

/** The worker's own end of its lane, taken when it makes a call. */
async function stealFromWorker(world: World): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const write = net.Socket.prototype.write;
  net.Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof write>) {
    const [chunk] = args as [unknown];
    // A frame of the channel has `{` in this place.
    if (chunk instanceof Uint8Array && chunk.length >= 12 && chunk[4] === CALL) {
      net.Socket.prototype.write = write;
      resolve(this);
    }
    return write.apply(this, args);
  } as typeof write;
  const answered = clientOf(world).wait!(0);
  const socket = await promise;
  await answered;
  return socket;
}

/** Every socket that was made since the start: in a helper, its lanes. */
const taken: Socket[] = [];

/** Looks at every socket that is made from now on; to be called before a helper has its first lane. */
export function takeSockets(): void {
  const inner = net as { Socket: typeof Socket };
  inner.Socket = new Proxy(inner.Socket, {
    construct(target, args, newTarget) {
      const socket = Reflect.construct(target, args, newTarget) as Socket;
      if (args[0]?.handle !== undefined) taken.push(socket);
      return socket;
    },
  });
}

/** A helper's end of its lane to the worker. The first one is the auditor's. */
async function stealFromHelper(): Promise<Socket> {
  // The worker's comes when the supervisor has handed it over.
  while (taken.length < 2) await new Promise((resolve) => setTimeout(resolve, 50));
  return taken[1]!;
}

/** Writes, and waits until the other end has hung up for it. */
async function untilClosed(socket: Socket, ...bytes: Uint8Array[]): Promise<string> {
  const closed = new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));
  const late = new Promise<boolean>((resolve) => setTimeout(() => resolve(false), HANG_UP_MS));
  for (const each of bytes) socket.write(each);
  if (await Promise.race([closed, late])) return "the other end hung up";
  throw new Error("The other end took it");
}

const HUNG_UP = "The other end closes a lane that breaks a rule, and keeps serving the others";

/** What a peer may not say, on either end. */
const RULES: readonly [name: string, title: string, bytes: Uint8Array][] = [
  ["garbage", "garbage", new Uint8Array(4096).fill(0xa5)],
  ["long", "a frame of 4 GiB", frame(HELLO, 0).fill(0xff, 0, 4)],
  ["kind", "a frame of no kind", frame(99, 1)],
  ["padding", "a frame whose zeros are none", frame(CANCEL, 1).fill(1, 5, 6)],
];

/** Of calls. */
const CALLS: readonly [name: string, title: string, bytes: Uint8Array][] = [
  ["hello", "a worker that says what methods it has", frame(HELLO, 0, Buffer.from("{}"))],
  ["result", "a worker that answers", frame(RESULT, 1, head({ value: 1, parts: [] }))],
  ["json", "a head that is no JSON", frame(CALL, NOBODYS, head("{"))],
  ["head", "a head that is longer than its frame", frame(CALL, NOBODYS, Buffer.alloc(4, 0xff))],
  [
    "worker",
    "a call in the name of another worker",
    frame(CALL, NOBODYS, head({ ...WAIT, worker: 7 })),
  ],
  [
    "twice",
    "two calls of one number",
    Buffer.concat(
      [1, 2].map(() => frame(CALL, NOBODYS, head({ ...WAIT, value: 1_000 }))),
    ),
  ],
  [
    "place",
    "bytes that belong where nothing is",
    frame(
      CALL,
      NOBODYS,
      head({ ...WAIT, value: {}, parts: [{ path: ["__proto__", "polluted"], bytes: 1 }] }),
      Buffer.from("x"),
    ),
  ],
  [
    "bytes",
    "bytes that did not come",
    frame(
      CALL,
      NOBODYS,
      head({ ...WAIT, value: null, parts: [{ path: [], bytes: 1_000_000_000 }] }),
    ),
  ],
];

/** Of answers. */
const ANSWERS: readonly [name: string, title: string, bytes: Uint8Array][] = [
  [
    "unasked",
    "the answer to a call that never came",
    frame(
      RESULT,
      NOBODYS,
      head({ value: "forged", parts: [] }),
    ),
  ],
  ["hello", "other methods than before", frame(HELLO, 0, Buffer.from('{"methods":{}}'))],
  ["call", "a helper that calls the worker", frame(CALL, 1, head(WAIT))],
];

/** Names that every object answers to. */
const INHERITED = [
  "constructor",
  "__proto__",
  "toString",
  "valueOf",
  "hasOwnProperty",
  "__defineGetter__",
];

/** What comes on a socket, as text, until it is quiet for a moment. */
async function hear(socket: Socket): Promise<string> {
  // The worker's own end would hang up at an answer that it did not ask for.
  socket.removeAllListeners("data");
  let text = "";
  socket.on("data", (chunk: Uint8Array) => text += Buffer.from(chunk).toString("latin1"));
  for (let before = -1; before !== text.length || before === 0;) {
    before = text.length;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  return text;
}

const OWN_METHODS = "A helper answers only to the names that its module defines";

const LANES: readonly Attempt[] = [
  ...[...RULES, ...CALLS].map(([name, title, bytes]) =>
    bounded(
      `HL1.${name}`,
      `on a stolen lane to a helper: ${title}`,
      HUNG_UP,
      async (world) => await untilClosed(await stealFromWorker(world), bytes),
      { only: BY_WORKER },
    )
  ),
  bounded(
    "HL2.client",
    "a method of a helper that every object has",
    OWN_METHODS,
    async (world) => {
      const client = clientOf(world);
      const answers = await Promise.allSettled(INHERITED.map((name) => client[name]!({})));
      const codes = answers.map((each) => each.status === "rejected" ? each.reason.code : "called");
      if (codes.some((code) => code !== "helper_unknown")) throw new Error(codes.join(", "));
      return codes.length;
    },
    { only: BY_WORKER },
  ),
  bounded("HL2.frames", "the same past the client, in frames", OWN_METHODS, async (world) => {
    const socket = await stealFromWorker(world);
    const heard = hear(socket);
    for (const [index, method] of INHERITED.entries()) {
      socket.write(frame(CALL, NOBODYS + index, head({ ...WAIT, method })));
    }
    const refusals = (await heard).split('"helper_unknown"').length - 1;
    if (refusals !== INHERITED.length) throw new Error(`${refusals} refusals: ${await heard}`);
    return refusals;
  }, { only: BY_WORKER }),
  bounded(
    "HL3.deep",
    "a value that is nested a hundred thousand times",
    "JSON is parsed without recursion, and checked against a schema",
    async (world) => {
      const socket = await stealFromWorker(world);
      const heard = hear(socket);
      const deep = "[".repeat(100_000) + "]".repeat(100_000);
      socket.write(
        frame(CALL, NOBODYS, head(`{"method":"wait","timeoutMs":1000,"parts":[],"value":${deep}}`)),
      );
      return `heard ${(await heard).length} bytes`;
    },
    { only: BY_WORKER },
  ),
  bounded(
    "HL3.flood",
    "more calls than a helper takes, and none of them short",
    "A helper takes a bounded number of each worker's, and serves workers in turn",
    async (world) => {
      const socket = await stealFromWorker(world);
      socket.removeAllListeners("data");
      for (let index = 0; index < 1_000; index++) {
        socket.write(frame(CALL, NOBODYS + index, head({ ...WAIT, value: 500 })));
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
      return "sent";
    },
    { only: BY_WORKER },
  ),
  bounded(
    "HL3.half",
    "half a frame, and silence",
    "It only delays its own lane, which is closed when it takes too long",
    async (world) => {
      (await stealFromWorker(world)).write(frame(CALL, NOBODYS, head(WAIT)).subarray(0, 20));
      await new Promise((resolve) => setTimeout(resolve, 200));
      return "sent";
    },
    { only: BY_WORKER },
  ),
  bounded(
    "HL3.cancel",
    "giving up a call that is another worker's",
    "A call is known by its lane and its number; that number has no call on this lane",
    async (world) => {
      const socket = await stealFromWorker(world);
      for (let id = 0; id < 1_000; id++) socket.write(frame(CANCEL, id));
      return await clientOf(world).wait!(0);
    },
    { only: BY_WORKER },
  ),
  ...[...RULES, ...ANSWERS].map(([name, title, bytes]) =>
    bounded(
      `HL4.${name}`,
      `on a helper's lane to the worker: ${title}`,
      HUNG_UP,
      async () => await untilClosed(await stealFromHelper(), bytes),
      { only: BY_HELPER },
    )
  ),
  bounded(
    "HL4.chunk",
    "a piece of a stream that was not requested",
    "It is discarded unread",
    async () => {
      const socket = await stealFromHelper();
      for (let count = 0; count < 100; count++) {
        socket.write(frame(CHUNK, NOBODYS, new Uint8Array(64 * 1024)));
      }
      return "sent";
    },
    { only: BY_HELPER },
  ),
];

// ---- descriptors ----

/** Opens a file that the auditor knows by its name, wherever it turns up. */
function openMark({ inside, nonce }: World): number {
  const O_CREAT_RDWR = 0o102;
  return must("openat", AT_FDCWD, `${inside}/${nonce}`, O_CREAT_RDWR, 0o600);
}

/** Sends a descriptor many times over a socket (sendmsg(2), SCM_RIGHTS). */
function sendMany(socket: number, fd: number): string {
  // A piece of a stream that nobody reads: a lane goes on after it.
  const data = new Uint8Array(frame(CHUNK, NOBODYS, new Uint8Array(3)));
  const part = new Uint8Array(new BigUint64Array([addressOf(data), BigInt(data.length)]).buffer);
  const control = new Uint8Array(16 + MANY * 4);
  const view = new DataView(control.buffer);
  view.setBigUint64(0, BigInt(control.length), true);
  view.setInt32(8, /* SOL_SOCKET */ 1, true);
  view.setInt32(12, /* SCM_RIGHTS */ 1, true);
  for (let index = 0; index < MANY; index++) view.setInt32(16 + index * 4, fd, true);
  const header = new Uint8Array(56);
  const fields = new DataView(header.buffer);
  fields.setBigUint64(16, addressOf(part), true);
  fields.setBigUint64(24, 1n, true);
  fields.setBigUint64(32, addressOf(control), true);
  fields.setBigUint64(40, BigInt(control.length), true);
  return `${must("sendmsg", socket, header, 0)} bytes with ${MANY} descriptors`;
}

const [SO_DOMAIN, SO_ACCEPTCONN] = [39, 30];

/** What getsockopt(2) says of a descriptor; nothing if it is no socket. */
function optionOf(fd: number, option: number): number | undefined {
  const answer = new Uint8Array(4);
  const { value } = call(
    "getsockopt",
    fd,
    /* SOL_SOCKET */ 1,
    option,
    answer,
    Uint8Array.of(4, 0, 0, 0),
  );
  return value === 0 ? answer[0] : undefined;
}

/** The descriptors for which a question about a socket has this answer. */
function socketsWhere(option: number, answer: number): number[] {
  return Array.from({ length: 256 }, (_, fd) => fd).filter((fd) => optionOf(fd, option) === answer);
}

const UNREAD = "No process takes descriptors from it: what it sends is closed unread";

const DESCRIPTORS: readonly Attempt[] = [
  bounded(
    "HO1.node",
    "a socket for the supervisor, by process.send",
    UNREAD,
    async () => {
      const server = net.createServer();
      const send = process.send as unknown as (
        value: unknown,
        handle: unknown,
        options: object,
        done: (error: unknown) => void,
      ) => void;
      const socket = new net.Socket({ fd: HAND_OVER_FD } as net.SocketConstructorOpts);
      server.close();
      return await new Promise((resolve) =>
        send.call(
          process,
          { type: "mark" },
          socket,
          { keepOpen: true },
          (error) => resolve(`sent, ${error}`),
        )
      );
    },
  ),
  bounded(
    "HO1.native",
    "descriptors for the supervisor, by the socket that it hands them over with",
    UNREAD,
    (world) => sendMany(HAND_OVER_FD, openMark(world)),
    { deno: "stops", closedWith: "names" },
  ),
  bounded(
    "HO1.lanes",
    "descriptors for the processes at the other ends of the lanes",
    UNREAD,
    async (world) => {
      const fd = openMark(world);
      const AF_UNIX = 1;
      // The channel to the supervisor is 4, and the one before it has an attempt of its own.
      const sent = socketsWhere(SO_DOMAIN, AF_UNIX).filter((each) => each > 4).map((socket) => {
        try {
          return sendMany(socket, fd);
        } catch (error) {
          return String(error);
        }
      });
      await new Promise((resolve) => setTimeout(resolve, 100));
      return sent;
    },
    { deno: "stops" },
  ),
  bounded(
    "HO2.node",
    "reading what the supervisor hands over next",
    "It is meant for this process, and nothing waits there",
    () => {
      try {
        return `${readSync(HAND_OVER_FD, new Uint8Array(1024))} bytes`;
      } catch (error) {
        return `nothing: ${(error as Error).message}`;
      }
    },
  ),
  bounded(
    "HO2.thread",
    "the same by a socket of a thread",
    "It is meant for this process, and nothing waits there",
    () =>
      inWebWorker(async ({ fd }) => {
        const { Socket } = await import("node:net");
        const socket = new Socket({ fd, readable: true, writable: false });
        let heard = 0;
        socket.on("data", (chunk: Uint8Array) => heard += chunk.length);
        socket.on("error", () => {});
        await new Promise((resolve) => setTimeout(resolve, 300));
        if (heard > 0) throw new Error(`It heard ${heard} bytes`);
        return "nothing";
      }, { fd: HAND_OVER_FD }),
  ),
  bounded(
    "HO3.listener",
    "a listener among the descriptors of a process that is not a worker",
    "A helper and the logger are handed lanes and never a listener",
    () => {
      const listening = socketsWhere(SO_ACCEPTCONN, 1);
      if (listening.length > 0) throw new Error(`Found ${listening}`);
      return "none";
    },
    { deno: "stops", only: { in: ["helper", "logger"], since: "a worker has its own" } },
  ),
  bounded(
    "HO3.foreign",
    "a listener among a worker's descriptors that is not its own",
    "Other listeners of the supervisor, such as its control socket, stay with it",
    () => {
      const listening = socketsWhere(SO_ACCEPTCONN, 1);
      if (listening.length !== 1) throw new Error(`Found ${listening}`);
      return "its own alone";
    },
    { deno: "stops", only: { in: ["worker"], since: "others have none at all" } },
  ),
];

export const HELPERS: readonly Attempt[] = [
  ...FOREIGN.flatMap(ofGrants),
  ...FOREIGN.flatMap(ofProcesses),
  ...LANES,
  ...DESCRIPTORS,
];
