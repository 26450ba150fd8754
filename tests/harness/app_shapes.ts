/** Apps by how they say what answers requests. */
import { assertEquals, assertMatch } from "@std/assert";
import type { Server } from "./server.ts";

/** Shapes of apps; each answers `own` to a request of any path. */
export const SHAPES: Record<string, string> = {
  "Deno.serve": `Deno.serve(() => new Response("own"));`,
  "Deno.serve with options": `Deno.serve({ port: 0 }, () => new Response("own"));`,
  "Deno.serve with a handler in its options":
    `Deno.serve({ hostname: "0.0.0.0", port: 80, handler: () => new Response("own") });`,
  "Deno.serve, awaited": `await Deno.serve({ port: 443 }, () => new Response("own")).finished;`,
  "Deno.serve, awaited while a timer goes on": `setInterval(() => {}, 100);
    await Deno.serve(() => new Response("own")).finished;`,
  "Deno.serve, disposed of by its block":
    `await using _server = Deno.serve(() => new Response("own"));`,
  "an answer of its own to an error":
    `Deno.serve({ onError: () => new Response("own") }, () => { throw new Error("broken"); });`,
  "where it listens": `let text;
    Deno.serve({ onListen: ({ port }) => text = port > 0 && "own" }, () => new Response(text));`,
  "node:http": `import http from "node:http";
    http.createServer((_, response) => response.end("own")).listen(8000);`,
  "node:http in a later turn, awaited by nobody": `import { createServer } from "node:http";
    async function main() {
      await new Promise((resolve) => setTimeout(resolve, 50));
      createServer((_, response) => response.end("own")).listen({ port: 80, host: "::1" });
    }
    main();`,
  "node:http, which waits for its listening": `import http from "node:http";
    const server = http.createServer((_, response) => response.end(text));
    await new Promise((resolve) => server.listen(80, "localhost", resolve));
    const text = server.listening && server.address().port > 0 ? "own" : "nowhere";
    await new Promise(() => {});`,
  "node:http, its listener added later": `import http from "node:http";
    const server = new http.Server();
    server.on("listening", () => server.on("request", (_, response) => response.end("own")));
    server.listen();`,
  "a second server": `import http from "node:http";
    Deno.serve(() => new Response("own"));
    Deno.serve({ port: 9090 }, () => new Response("figures"));
    http.createServer((_, response) => response.end("admin")).listen(9091);`,
  "a default export beside it": `import http from "node:http";
    http.createServer((_, response) => response.end("started")).listen(80);
    Deno.serve(() => new Response("started"));
    export default { fetch: () => new Response("own") };`,
  "a function of a request": `export default (request) => new Response(request.url && "own");`,
  "an async function of nothing": `export default async () => new Response("own");`,
  "a function of request and response":
    `export default (request, response) => response.end(request.socket.remotePort && "own");`,
  "a server as the default export": `import http from "node:http";
    export default http.createServer((_, response) => response.end("own"));`,
  "what Bun takes": `export default { port: 3000, fetch() { return new Response("own"); } };`,
  "compiled CommonJS that exports nothing, and listens later": `import http from "node:http";
    export default Object.defineProperty({}, "__esModule", { value: true });
    setTimeout(() => http.createServer((_, response) => response.end("own")).listen(80), 50);`,
  "compiled CommonJS": `import { createRequire } from "node:module";
    const module = { exports: {} };
    module.exports.__esModule = true;
    module.exports.default = (request, response) => response.end("own");
    export default module.exports;`,
};

/** Apps that nothing can be served of, and what is said of them. */
export const REFUSED: Record<string, { app: string; says: RegExp }> = {
  "nothing at all": {
    app: `export const answer = 42;`,
    says: /exports no handler and has started/,
  },
  "nothing, after some time": {
    app: `setTimeout(() => {}, 50); console.log("bye");`,
    says: /exports no handler and has started no server/,
  },
  "another default": { app: `export default { port: 80 };`, says: /no fetch\(request, info\)/ },
  "a class": { app: `export default class App {}`, says: /no fetch\(request, info\)/ },
  "a socket of another kind": {
    app: `for await (const each of Deno.listen({ port: 0 })) each.close();`,
    says: /Holdfast listens for the app/,
  },
  "a server with a certificate": {
    app: `Deno.serve({ cert: "x", key: "y" }, () => new Response("own"));`,
    says: /leave TLS to a proxy/,
  },
  "an error while it loads": {
    app: `Deno.serve(() => new Response("own")); throw new Error("no database");`,
    says: /no database/,
  },
};

/** Reloads to an app, and sees that it answers. */
export async function assertServed(server: Server, app: string): Promise<void> {
  await server.project.write("app.ts", app);
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
  const answer = await server.get("/");
  assertEquals([answer.status, await answer.text()], [200, "own"]);
}

/** Sees that a reload to an app is refused, and that what served before goes on. */
export async function assertRefused(server: Server, app: string, says: RegExp): Promise<void> {
  const before = await server.text("/");
  await server.project.write("app.ts", app);
  const { outcome, reason } = await server.reload();
  assertEquals(outcome, "refused");
  assertMatch(reason!, says);
  assertEquals(await server.text("/"), before);
}
