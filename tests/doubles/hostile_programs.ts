/**
 * Programs that run in a worker's place and speak to the supervisor in raw bytes. Each is the text
 * of a module that needs nothing but Node's built-ins, and no permission.
 */

import { PROTOCOL_VERSION } from "../../lib/protocol/version.ts";

/** Under which key one finds its second seccomp program. */
export const PROGRAM_KEY = "hostile.later_program";

/** What all of them can do: the honest steps, one by one, and bytes of any kind. */
const PRELUDE = `
import net from "node:net";
import process from "node:process";
import { Buffer } from "node:buffer";

for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"]) process.on(signal, () => {});
const channel = new net.Socket({ fd: 4, readable: true, writable: true });
const heard = [];
const waiting = [];
let held = Buffer.alloc(0);
// Without it nobody gets further than hello.
const given = globalThis[Symbol.for("${PROGRAM_KEY}")];
if (given !== undefined) {
  const [filter, header] = [Uint8Array.fromBase64(given), new Uint8Array(16)];
  const at = Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter));
  new DataView(header.buffer).setUint16(0, filter.length / 8, true);
  new DataView(header.buffer).setBigUint64(8, BigInt(at), true);
  const libc = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "u64", "u64", "buffer"], result: "i64" },
  });
  libc.symbols.syscall(Deno.build.arch === "aarch64" ? 277n : 317n, 1n, 1n, header);
}
Deno.permissions.revokeSync({ name: "ffi" });
channel.on("error", () => {});
channel.on("end", () => {});
channel.on("data", (chunk) => {
  held = Buffer.concat([held, chunk]);
  while (held.length >= 4 && held.length >= 4 + held.readUInt32BE(0)) {
    const end = 4 + held.readUInt32BE(0);
    heard.push(JSON.parse(held.subarray(4, end).toString()));
    held = held.subarray(end);
  }
  for (const look of waiting) look();
});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const forEver = () => new Promise(() => setInterval(() => {}, 1000));
function hear(type) {
  return new Promise((resolve) => {
    const look = () => {
      const command = heard.find((each) => each.type === type);
      if (command) resolve(command);
    };
    waiting.push(look);
    look();
  });
}
function frame(value) {
  const payload = Buffer.from(typeof value === "string" ? value : JSON.stringify(value));
  const header = Buffer.alloc(4);
  header.writeUInt32BE(payload.length);
  return Buffer.concat([header, payload]);
}
let send = (bytes) => new Promise((resolve) => channel.write(bytes, resolve));
const say = (...values) => send(Buffer.concat(values.map(frame)));
const print = (text) => Deno.stderr.writeSync(new TextEncoder().encode(text));

const HELLO = { type: "hello", version: ${PROTOCOL_VERSION}, deno: "2.9.6" };
const READY = { type: "ready" };
const PULSE = { type: "pulse", accepted: 0, connections: 0, inFlight: 0, answered: 0 };
const handles = [];
let configured;
let received = { type: "received", listeners: 0 };

/** The honest steps, by the phase that each leads to. */
const STEPS = {
  starting: async () => {},
  introduced: () => say(HELLO),
  configured: async () => {
    const came = Promise.withResolvers();
    process.on("message", (_, handle) => {
      handles.push(handle);
      came.resolve();
    });
    configured = await hear("configure");
    while (handles.length < configured.roleConfig.listeners.length) await came.promise;
    received = { type: "received", listeners: handles.length };
  },
  equipped: () => say(received),
  loading: () => hear("load"),
  ready: () => say(READY),
  opening: () => hear("accept"),
  serving: async () => {
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", () =>
        socket.end("HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: 7\\r\\n\\r\\nhostile"));
    });
    server.listen(handles[0]);
    await say({ type: "accepting", engine: "node" });
  },
  draining: () => hear("drain"),
};
async function goTo(phase) {
  for (const [name, step] of Object.entries(STEPS)) {
    await step();
    if (name === phase) return;
  }
}
`;

/** A whole program of these statements. */
export function hostileProgram(statements: string): string {
  return `${PRELUDE}\n${statements}\nawait forEver();\n`;
}

/** The phases that a program can stop in, in their order. */
export const HOSTILE_PHASES = [
  ...["starting", "introduced", "configured", "equipped", "loading", "ready", "opening"] as const,
  ...["serving", "draining"] as const,
];
