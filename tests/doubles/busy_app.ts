/**
 * An app that uses what an app can use of the runtime, part by part: each path of a request names one.
 * What is refused by Deno's permissions alone is not here. A part fails with its error.
 */
import { Buffer } from "node:buffer";
import * as crypto from "node:crypto";
import * as dns from "node:dns/promises";
import * as fs from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { Worker as NodeWorker } from "node:worker_threads";
import * as zlib from "node:zlib";

/** A module whose only import is a memory that threads share, which it adds to. */
const WASM = Uint8Array.from(
  atob("AGFzbQEAAAABBAFgAAACEAEDZW52Bm1lbW9yeQIDAQIDAgEABwcBA2FkZAAACg0BCwBBAEEB/h4CABoL"),
  (character) => character.charCodeAt(0),
);

const THREAD = `
onmessage = async ({ data: { memory, wasm } }) => {
  const { instance } = await WebAssembly.instantiate(wasm, { env: { memory } });
  for (let count = 0; count < 1000; count++) instance.exports.add();
  Atomics.notify(new Int32Array(memory.buffer), 0);
  postMessage("done");
};`;

function once<T>(start: (done: (value: T) => void, fail: (error: unknown) => void) => void) {
  return new Promise<T>(start);
}

const PARTS: Readonly<Record<string, (port: number) => unknown>> = {
  async files() {
    const folder = await Deno.makeTempDir({ dir: "data" });
    const [one, two] = [`${folder}/one`, `${folder}/two`];
    await Deno.writeTextFile(one, "text".repeat(10_000));
    await Deno.copyFile(one, two);
    using file = await Deno.open(two, { read: true, write: true });
    await file.lock(true);
    await file.truncate(100);
    await file.sync();
    await file.syncData();
    await file.seek(10, Deno.SeekMode.Start);
    await file.stat();
    await file.unlock();
    await Deno.rename(two, `${folder}/three`);
    await Deno.realPath(one);
    await Deno.lstat(one);
    for await (const _ of Deno.readDir(folder));
    await fs.promises.appendFile(one, "more");
    const stream = fs.createReadStream(one).pipe(fs.createWriteStream(`${folder}/four`));
    await once((done) => stream.on("close", () => done(true)));
    const through = (await Deno.open(one)).readable
      .pipeTo((await Deno.create(`${folder}/five`)).writable);
    await through;
    await Deno.remove(folder, { recursive: true });
  },
  sqlite() {
    const database = new DatabaseSync("data/busy.db");
    database.exec("PRAGMA journal_mode = wal; CREATE TABLE IF NOT EXISTS t (x)");
    for (let x = 0; x < 100; x++) database.prepare("INSERT INTO t VALUES (?)").run(x);
    database.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    database.close();
  },
  async crypto() {
    await once((done) => crypto.scrypt("a", "b", 32, done));
    await once((done) => crypto.pbkdf2("a", "b", 1000, 32, "sha256", done));
    await once((done) => crypto.generateKeyPair("rsa", { modulusLength: 1024 }, done));
    await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, ["sign"]);
    crypto.randomBytes(1000);
  },
  async compression() {
    await once((done) => zlib.gzip("a".repeat(100_000), done));
    await once((done) => zlib.brotliCompress("a".repeat(100_000), done));
    await new Response(
      new Blob(["a"]).stream().pipeThrough(new CompressionStream("deflate")),
    ).bytes();
  },
  async threads() {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared: true });
    const url = `data:text/javascript,${encodeURIComponent(THREAD)}`;
    const workers = Array.from({ length: 4 }, () => new Worker(url, { type: "module" }));
    await Promise.all(workers.map((worker) =>
      once((done, fail) => {
        worker.onmessage = done;
        worker.onerror = fail;
        worker.postMessage({ memory, wasm: WASM });
      })
    ));
    workers.forEach((worker) => worker.terminate());
    const sum = new Int32Array(memory.buffer)[0];
    if (sum !== 4000) throw new Error(`${sum}`);
    await Atomics.waitAsync(new Int32Array(memory.buffer), 0, 4000, 5).value;
    Atomics.wait(new Int32Array(memory.buffer), 0, 4000, 5);
  },
  async node_threads() {
    const worker = new NodeWorker(
      'require("node:worker_threads").parentPort.postMessage(process.pid)',
      { eval: true },
    );
    await once((done, fail) => worker.on("message", done).on("error", fail));
    await worker.terminate();
  },
  async network(port) {
    const url = `http://localhost:${port}`;
    await (await fetch(url)).text();
    await (await fetch(url, { method: "POST", body: new Blob(["x".repeat(200_000)]) })).text();
    await once((done, fail) =>
      http.get(url, (got) => got.resume().on("end", done)).on("error", fail)
    );
    using connection = await Deno.connect({ hostname: "localhost", port });
    connection.setNoDelay();
    connection.setKeepAlive();
    await connection.closeWrite();
    const socket = net.connect(port, "localhost");
    await once((done, fail) => socket.on("connect", done).on("error", fail));
    socket.destroy();
    await dns.lookup("localhost", { all: true }).catch(() => {});
    await Deno.resolveDns("localhost", "A").catch(() => {});
    const webSocket = new WebSocket(`ws://localhost:${port}`);
    await once((done) => webSocket.onerror = webSocket.onopen = done);
    await Deno.connectTls({ hostname: "localhost", port }).catch(() => {});
  },
  async itself() {
    Deno.memoryUsage();
    process.cpuUsage();
    process.resourceUsage();
    process.hrtime.bigint();
    process.uptime();
    performance.now();
    new Intl.DateTimeFormat("de", { timeZone: "Europe/Berlin" }).format();
    Deno.addSignalListener("SIGUSR1", () => {});
    await once((done) => setTimeout(done, 5));
    const { port1, port2 } = new MessageChannel();
    port1.postMessage(structuredClone(Buffer.alloc(100_000)));
    await once((done) => port2.onmessage = done);
    port1.close();
    for (let megabytes = 0; megabytes < 64; megabytes++) new Uint8Array(1 << 20).fill(1);
  },
};

export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    if (request.headers.get("upgrade") === "websocket") {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onmessage = ({ data }) => socket.send(data);
      return response;
    }
    if (pathname === "/") return Response.json(Object.keys(PARTS));
    try {
      await PARTS[pathname.slice(1)]!(Number(searchParams.get("port")));
      return new Response("done");
    } catch (error) {
      return new Response(`${pathname}: ${(error as Error).stack}`);
    }
  },
};
