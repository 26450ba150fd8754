/** Headers of the PROXY protocol, and a server that wants them. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { concat, formatRequest, Wire } from "./http.ts";
import { Project } from "./project.ts";
import { Server } from "./server.ts";
import { until } from "./wait.ts";

export const text = (line: string) => new TextEncoder().encode(line);

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

/** A header of version 2. */
export function v2(
  { command = 0x21, family = 0x11, addresses, tlvs = [], length }: {
    command?: number;
    family?: number;
    addresses?: readonly number[];
    tlvs?: readonly number[];
    length?: number;
  } = {},
): Uint8Array {
  const given = addresses ?? [192, 0, 2, 9, 10, 0, 0, 1, 18, 104, 0, 80];
  const body = [...given, ...tlvs];
  const size = length ?? body.length;
  return concat([text(SIGNATURE), Uint8Array.of(command, family, size >> 8, size & 255, ...body)]);
}

const V6 = [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 1, ...Array(16).fill(0), 0, 9, 0, 80];
const UNIX = Array(216).fill(47);
export const LONGEST_V1 = "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff " +
  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";

/** Whole headers, and who the client is by them; `-` for whoever has connected. */
export const WHOLE: readonly [what: string, header: Uint8Array, client: string][] = [
  ["v1 IPv4", text("PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n"), "192.0.2.7 4711"],
  ["v1 IPv6", text("PROXY TCP6 2001:db8::1 ::1 5 6\r\n"), "2001:db8::1 5"],
  ["v1 port 0", text("PROXY TCP4 192.0.2.7 10.0.0.1 0 0\r\n"), "192.0.2.7 0"],
  ["v1 unknown", text("PROXY UNKNOWN\r\n"), "-"],
  ["v1 unknown, with more", text("PROXY UNKNOWN whatever it is\r\n"), "-"],
  ["v1 of 107 bytes", text(LONGEST_V1), "-"],
  ["v2 IPv4", v2(), "192.0.2.9 4712"],
  ["v2 IPv6", v2({ family: 0x21, addresses: V6 }), "2001:db8::1 9"],
  ["v2 datagrams", v2({ family: 0x12 }), "192.0.2.9 4712"],
  ["v2 Unix", v2({ family: 0x31, addresses: UNIX }), "-"],
  ["v2 unspecified", v2({ family: 0, addresses: [] }), "-"],
  ["v2 local", v2({ command: 0x20, family: 0, addresses: [] }), "-"],
  ["v2 local with a family", v2({ command: 0x20 }), "-"],
  ["v2 local of a family that nobody knows", v2({ command: 0x20, family: 0xff }), "-"],
  ["v2 additions", v2({ tlvs: [1, 0, 2, 104, 50, 0x20, 0, 0] }), "192.0.2.9 4712"],
  ["v2 as long as may be", v2({ tlvs: [4, 15, 241, ...Array(4_081).fill(0)] }), "192.0.2.9 4712"],
];

const FETCH_APP = `export default {
  fetch: async (request, { remoteAddr }) =>
    new Response((remoteAddr.hostname ?? remoteAddr.path) + " " + (await request.text()).length +
      (request.url.startsWith("https:") ? " https" : "")),
};`;

const NODE_APP = `
import http from "node:http";
http.createServer((request, response) => {
  let bytes = 0;
  request.on("data", (piece) => bytes += piece.length);
  request.on("end", () => response.end(request.socket.remoteAddress + " " + bytes +
    (request.socket.encrypted ? " https" : "")));
}).listen(8000);
`;

/** The ways in which an app is served. */
export const SERVED = {
  native: { app: FETCH_APP, engine: "native" },
  node: { app: FETCH_APP, engine: "node" },
  "an app's own server": { app: NODE_APP, engine: "native" },
} as const;

/** The client is who the header says, and none is served without. */
export async function checkProxied(served: keyof typeof SERVED): Promise<void> {
  const { app, engine } = SERVED[served];
  const project = await Project.create({
    files: { "app.ts": app },
    config: {
      engine,
      log: { folder: "./logs", access: "json" },
      http: { headerTimeoutMs: 1_000, maxConnectionsPerAddress: 2 },
    },
  });
  const { port } = project;
  await project.configure({
    listen: [
      { http: `127.0.0.1:${port}`, proxyProtocol: true },
      { unix: "./web.sock", proxyProtocol: true },
    ],
  });
  await using server = await Server.startOn(project);
  const body = "x".repeat(100_000);
  const request = formatRequest("/", { method: "POST", body });
  const places = [port, server.project.path("web.sock")];
  for (const place of places) {
    for (const [what, header, client] of WHOLE) {
      if (client === "-") continue;
      using wire = await Wire.open(place);
      await wire.write(concat([header, request]));
      const [hostname] = client.split(" ");
      assertEquals((await wire.answer()).text, `${hostname} ${body.length}`, what);
      // It holds for the connection.
      assertEquals((await wire.ask("/")).text, `${hostname} 0`);
    }
    using byBytes = await Wire.open(place);
    for (const byte of v2()) await byBytes.write(Uint8Array.of(byte));
    assertEquals((await byBytes.ask("/")).text, "192.0.2.9 0");
  }
  {
    using wire = await Wire.open(port);
    await wire.write(v2({ command: 0x20, family: 0, addresses: [] }));
    assertEquals((await wire.ask("/")).text, "127.0.0.1 0");
  }
  {
    using wire = await Wire.open(port);
    await wire.write(v2({ tlvs: [0x20, 0, 5, 1, 0, 0, 0, 0] }));
    assertEquals((await wire.ask("/")).text, "192.0.2.9 0 https");
  }
  const file = join(server.project.folder, "logs/access.log");
  await until("records of the clients", () => {
    const lines = Deno.readTextFileSync(file);
    return ["192.0.2.7", "2001:db8::1", "192.0.2.9"]
      .every((address) => lines.includes(`"remote":"${address}"`));
  });
  // The client's connections are counted, and not the proxy's.
  const open = async (address: string) => {
    const wire = await Wire.open(port);
    await wire.write(text(`PROXY TCP4 ${address} 10.0.0.1 4711 80\r\n`));
    await wire.write(formatRequest("/")).catch(() => {});
    const answer = await wire.answer().catch(() => undefined);
    return { wire, text: answer?.text };
  };
  const all = [];
  for (const address of ["192.0.2.50", "192.0.2.50", "192.0.2.50", "192.0.2.51"]) {
    all.push(await open(address));
  }
  assertEquals(all.map(({ text }) => text), [
    "192.0.2.50 0",
    "192.0.2.50 0",
    undefined,
    "192.0.2.51 0",
  ]);
  for (const { wire } of all) wire[Symbol.dispose]();
  // Without a header nothing is served, and a connection that sends none does not stay.
  for (const first of [formatRequest("/"), v2({ command: 0x22 }), text("PROXY TCP4 x\r\n")]) {
    using wire = await Wire.open(port);
    await wire.write(first);
    assert(await wire.ended() !== "more");
  }
  using silent = await Wire.open(port);
  using half = await Wire.open(port);
  await half.write(v2().subarray(0, 20));
  for (const wire of [silent, half]) assert(await wire.ended() !== "more");
  await until("each to be counted", async () => {
    const { generations } = await server.status();
    const limited = generations.find(({ state }) => state === "serving")?.workers[0]?.process
      ?.limited;
    return limited?.proxyProtocol === 3 && limited.headerTimeoutMs === 2 &&
      limited.maxConnectionsPerAddress === 1;
  });
  assertEquals(server.eventsOf("worker_exited"), []);
}
