/** Endless streams are closed over time by a reload, so that their clients do not all come back at once. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ANSWER_EVENTS, SHAKE_HANDS } from "../harness/endless_app.ts";
import { formatRequest, Wire } from "../harness/http.ts";
import { Server } from "../harness/server.ts";

const CLIENTS = 12;

const FETCH_APP = `
export default {
  fetch(request) {
    if (new URL(request.url).pathname === "/socket") {
      return Deno.upgradeWebSocket(request).response;
    }${ANSWER_EVENTS}
  },
};
`;

const NODE_APP = `
import http from "node:http";
import { createHash } from "node:crypto";
const server = http.createServer((_request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.write("data: x\\n\\n");
  const timer = setInterval(() => response.write("data: x\\n\\n"), 50);
  response.on("close", () => clearInterval(timer));
});
server.on("upgrade", (request, socket) => {${SHAKE_HANDS}
  socket.on("data", () => socket.end());
  socket.on("error", () => {});
});
server.listen(8000);
`;

const SERVED = {
  native: { app: FETCH_APP, engine: "native" },
  node: { app: FETCH_APP, engine: "node" },
  "an app's own server": { app: NODE_APP, engine: "native" },
} as const;

for (const [served, { app, engine }] of Object.entries(SERVED)) {
  Deno.test(`a reload spreads what it closes over reload.spreadMs (${served})`, async () => {
    await using server = await Server.start({
      files: { "app.ts": app },
      config: { engine, reload: { spreadMs: 4_000 } },
    });
    const { port } = server.project;
    const sockets = await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/socket`);
        await new Promise((resolve) => socket.onopen = resolve);
        return socket;
      }),
    );
    const streams = await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        const wire = await Wire.open(port);
        await wire.write(formatRequest("/events"));
        return { wire, head: await wire.head() };
      }),
    );
    let open = 2 * CLIENTS;
    const openAt: number[] = [];
    const closed = () => openAt.push(--open);
    const codes = sockets.map((socket) =>
      new Promise<number>((resolve) =>
        socket.onclose = ({ code }) => {
          closed();
          resolve(code);
        }
      )
    );
    const texts = streams.map(async ({ wire, head }) => {
      let text = "";
      for await (const piece of wire.body(head)) text += new TextDecoder().decode(piece);
      closed();
      return text;
    });
    let openAtFirst: number | undefined;
    const first = Promise.race([...codes, ...texts]).then(async () => {
      // Whatever else has ended in the same moment is known by then.
      for (let asked = 0; asked < 3; asked++) await server.status();
      openAtFirst = open;
    });
    assertEquals((await server.reload()).outcome, "done");
    await first;
    assert(openAtFirst! > 0, `${openAtFirst} were open when the first had ended`);
    assertEquals(await Promise.all(codes), Array(CLIENTS).fill(1012));
    for (const text of await Promise.all(texts)) {
      if (served === "an app's own server") assertMatch(text, /\n\n$/);
      else assertMatch(text, /\n\nretry: \d+\n\n$/);
    }
    const { cut, outcome } = await server.waitFor("generation_ended");
    assertEquals({ cut, outcome }, { cut: 0, outcome: "drained" });
    for (const { wire } of streams) wire[Symbol.dispose]();
  });
}
