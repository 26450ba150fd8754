/** Abusing the channel to the supervisor, and its log. */
import { Buffer } from "node:buffer";
import { Socket } from "node:net";
import process from "node:process";
import type { Attempt } from "../attempt.ts";
import { must } from "../native.ts";
import { containedIn } from "./contained.ts";
import { inWebWorker } from "./web_worker.ts";

/** Where every worker has its channel, and where the runtime's IPC is. */
const CHANNEL_FD = 4;
const IPC_FD = 3;

const ENDED = "The supervisor ends a worker that breaks a rule of the channel";

const PULSE = { type: "pulse", accepted: 0, connections: 0, inFlight: 0, answered: 0 };

type More = Partial<Attempt>;

const { bounded, ending } = containedIn("channel");

/** Something that the supervisor ends the worker for. */
function broken(id: string, title: string, rule: string, run: Attempt["run"], more: More = {}) {
  return ending(id, title, new RegExp(`^broke the rule ${rule} `), run, { note: ENDED, ...more });
}

/** A frame of the channel. */
function frame(payload: unknown): Buffer<ArrayBuffer> {
  const text = Buffer.from(typeof payload === "string" ? payload : JSON.stringify(payload));
  const bytes = Buffer.alloc(4 + text.length);
  bytes.writeUInt32BE(text.length);
  text.copy(bytes, 4);
  return bytes;
}

/** Says something on the channel. */
async function tell(...payloads: unknown[]): Promise<void> {
  await tellRaw(Buffer.concat(payloads.map(frame)));
}

/** Writes to the channel from a thread, where Deno lets a socket be made of its number. */
async function tellRaw(bytes: Uint8Array): Promise<void> {
  await inWebWorker(async ({ fd, bytes }) => {
    const { Socket } = await import("node:net");
    const socket = new Socket({ fd, readable: false, writable: true });
    await new Promise<void>((resolve, reject) => {
      socket.on("error", reject);
      socket.write(bytes, () => resolve());
    });
    // Its end would close the number for all threads: it stays, and the supervisor ends them all.
    await new Promise(() => setInterval(() => {}, 1_000));
  }, { fd: CHANNEL_FD, bytes });
}

/** The worker's own end of the channel, taken when it says its next pulse; a helper has lanes too. */
function stealSocket(): Promise<Socket> {
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const write = Socket.prototype.write;
  Socket.prototype.write = function (this: Socket, ...args: Parameters<typeof write>) {
    const [bytes] = args as [unknown];
    if (bytes instanceof Uint8Array && Buffer.from(bytes).includes('"type":"pulse"')) {
      Socket.prototype.write = write;
      resolve(this);
    }
    return write.apply(this, args);
  } as typeof write;
  return promise;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const FRAMES: readonly Attempt[] = [
  broken("IP1.unknown", "tell the supervisor to start a program", "bad_message", () => {
    return tell({ type: "exec", path: "/bin/sh", args: ["-c", "id"] });
  }),
  broken("IP1.phase", "say ready again", "not_permitted", () => tell({ type: "ready" })),
  broken("IP1.drained", "say drained without having been told to", "not_permitted", () => {
    return tell({ type: "drained", answered: 0, cut: 0 });
  }),
  broken("IP2", "say twice what may be said once", "not_permitted", () => {
    return tell({ type: "accepting", engine: "native" });
  }),
  broken("IP18", "speak for another worker", "bad_message", ({ siblingPid }) => {
    return tell({ ...PULSE, worker: 1, pid: siblingPid });
  }),
  broken("IP3", "announce a frame of 4 GiB", "frame_too_long", () => {
    return tellRaw(Buffer.alloc(4, 0xff));
  }),
  broken("IP6", "flood the supervisor with messages that are right", "too_many_messages", () => {
    return tell(...Array.from({ length: 200 }, () => PULSE));
  }),
  broken("IP7.prototype", "send a key that would reach every object", "bad_message", () => {
    return tell(JSON.stringify(PULSE).replace("{", '{"__proto__":{"polluted":true},'));
  }),
  broken("IP7.utf8", "send bytes that are not text", "frame_not_json", () => {
    return tellRaw(Buffer.from([0, 0, 0, 3, 0x22, 0xff, 0x22]));
  }),
  broken("IP8", "send text that is not JSON, and then a valid message", "frame_not_json", () => {
    return tell("{", PULSE);
  }),
  broken("IP9", "send what the runtime's own IPC obeys", "frame_too_long", () => {
    return tellRaw(Buffer.from('{"cmd":"NODE_HANDLE","type":"net.Server","msg":{}}\n'));
  }),
  broken(
    "IP1.stolen",
    "write to the worker's own socket, stolen from it",
    "bad_message",
    async () => {
      (await stealSocket()).write(frame({ type: "exec", path: "/bin/sh" }));
    },
  ),
  broken("IP1.native", "write(2) to the channel", "bad_message", () => {
    const bytes = new Uint8Array(frame({ type: "exec", path: "/bin/sh" }));
    must("write", CHANNEL_FD, bytes, bytes.length);
  }, { deno: "stops" }),
  bounded(
    "IP18.figures",
    "send false figures",
    "They are only the worker's own figures, and decide nothing",
    async () => {
      const most = Number.MAX_SAFE_INTEGER;
      const channel = await stealSocket();
      channel.write(frame({ ...PULSE, accepted: most, answered: most, inFlight: most }));
      await sleep(100);
      return "believed";
    },
  ),
];

/** Whoever serves others goes on until they are gone, or the supervisor misses its pulse. */
const SERVES_ALONE = {
  in: ["worker"],
  since: "it serves until its workers are gone; the supervisor ends one that says nothing",
} as const;

const HANGING_UP: readonly Attempt[] = [
  ending("IP16.destroy", "hang up the stolen channel", /^exited with status 0$/, async () => {
    (await stealSocket()).destroy();
  }, { only: SERVES_ALONE }),
  ending(
    "IP16.end",
    "hang up one half of the stolen channel",
    /^exited with status 0$/,
    async () => {
      (await stealSocket()).end();
    },
    { only: SERVES_ALONE },
  ),
  ending(
    "IP16.shutdown",
    "shutdown(2) of one half of the channel",
    /^exited with status 0$/,
    () => void must("shutdown", CHANNEL_FD, 1),
    { deno: "stops", only: SERVES_ALONE },
  ),
];

const UNREAD = "The supervisor hands over descriptors by it, and never reads from it";

const RUNTIME_IPC: readonly Attempt[] = [
  bounded("IP9.send", "process.send over the runtime's IPC", UNREAD, async () => {
    const send = process.send as unknown as (
      value: unknown,
      done: (error: unknown) => void,
    ) => void;
    return await new Promise((resolve) =>
      send.call(process, { cmd: "NODE_CLOSE" }, (error) => resolve(`sent, ${error}`))
    );
  }),
  bounded("IP9.flood", "flood the runtime's IPC", UNREAD, () => {
    let sent = 0;
    for (let count = 0; count < 10_000; count++) {
      if (process.send?.({ cmd: "NODE_SOCKET_GET_COUNT", key: "x" })) sent++;
    }
    return `${sent} sent`;
  }),
  {
    ...bounded("IP9.native", "write(2) to the descriptor of the runtime's IPC", UNREAD, () => {
      return must("write", IPC_FD, "{}\n", 3);
    }),
    deno: "stops",
  },
  bounded(
    "IP14",
    "ask the supervisor to bind a port, as node:cluster does",
    UNREAD,
    async ({ freePort }) => {
      const { default: cluster } = await import("node:cluster");
      const inner = cluster as unknown as { _getServer?: unknown; worker?: { send?: unknown } };
      if (typeof inner.worker?.send === "function") throw new Error(`It could ask for ${freePort}`);
      return `worker ${typeof inner.worker}`;
    },
  ),
];

const LOG_NOTE = "The supervisor cuts, escapes and counts what a worker prints";

const LOG: readonly Attempt[] = [
  bounded("IP19.forged", "print lines that look like the supervisor's", LOG_NOTE, () => {
    const line = JSON.stringify({ event: "reload_done", generation: 99 });
    Deno.stderr.writeSync(new TextEncoder().encode(`${line}\r\n\u001b[2J\u001b[1A${line}\n`));
    return true;
  }),
  bounded("IP19.marks", "print what reorders and repaints lines", LOG_NOTE, () => {
    const marks = "\u202e\u2066\u2028\u0085\u0007\u001b]0;title\u0007\u001b[6n";
    Deno.stdout.writeSync(new TextEncoder().encode(`${marks}\n`));
    Deno.stdout.writeSync(new Uint8Array([0xff, 0xfe, 0x80, 0x0a]));
    return true;
  }),
  bounded("IP19.endless", "print a line of 8 MiB", LOG_NOTE, () => {
    const bytes = new Uint8Array(64 * 1024).fill(120);
    for (let count = 0; count < 128; count++) writeAll(Deno.stdout, bytes);
    writeAll(Deno.stdout, new Uint8Array([10]));
    return true;
  }),
];

function writeAll(stream: typeof Deno.stdout, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += stream.writeSync(bytes.subarray(at));
}

const ENDS: readonly Attempt[] = [
  ending("IP17.exit", "exit with a status", /^exited with status 42$/, () => Deno.exit(42)),
  ending("IP17.abort", "process.abort", /^killed by SIG|^exited/, () => process.abort()),
  ending("IP17.throw", "throw without a catch", /^exited with status 1$/, async () => {
    setTimeout(() => {
      throw new Error("nobody catches it");
    });
    await sleep(5_000);
  }),
  ending("IP17.reject", "reject without a catch", /^exited with status 1$/, async () => {
    void Promise.reject(new Error("nobody catches it"));
    await sleep(5_000);
  }),
  ending("IP17.panic", "make the runtime panic", /^exited with status|^killed by SIG/, () => {
    const { internal } = Deno as unknown as { internal: string };
    const inner = Deno as unknown as Record<
      string,
      { core: { ops: { op_panic(_: string): void } } }
    >;
    inner[internal]!.core.ops.op_panic("on purpose");
  }),
  ending("IP17.kill", "kill itself", /^killed by SIGKILL$/, () => {
    process.kill(process.pid, "SIGKILL");
  }, { kernel: "stops" }),
  ending("IP17.crash", "jump to nowhere", /^killed by SIGSEGV$/, () => {
    const nowhere = Deno.UnsafePointer.create<{ parameters: []; result: "void" }>(1n)!;
    new Deno.UnsafeFnPointer(nowhere, { parameters: [], result: "void" }).call();
  }, { deno: "stops" }),
];

export const CHANNEL: readonly Attempt[] = [
  ...FRAMES,
  ...HANGING_UP,
  ...RUNTIME_IPC,
  ...LOG,
  ...ENDS,
];
