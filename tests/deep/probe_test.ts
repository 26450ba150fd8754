/** A new version is asked by `reload.probe` before it takes the place of the old one. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { runCommand, Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/** Answers by what is written into a file, and counts what it is asked. */
const fetching = (version: string) => `
let asked = 0;
const broken = ${JSON.stringify(version)}.startsWith("broken");
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    asked++;
    if (pathname === "/healthz" && broken) return new Response("no database\\n", { status: 503 });
    if (pathname === "/asked") return new Response(${JSON.stringify(version)} + " " + asked);
    return new Response(${JSON.stringify(version)});
  },
};
`;

/** The same by node:http, as Express is. */
const listening = (version: string) => `
import http from "node:http";
let asked = 0;
const broken = ${JSON.stringify(version)}.startsWith("broken");
http.createServer((incoming, outgoing) => {
  asked++;
  if (incoming.url === "/healthz" && broken) return outgoing.writeHead(503).end("no database\\n");
  outgoing.end(incoming.url === "/asked" ? ${JSON.stringify(version)} + " " + asked : ${
  JSON.stringify(version)
});
}).listen(3000);
`;

const QUICK = { idleGraceMs: 100, drainDeadlineMs: 2_000 };
const PROBES = {
  warmUp: ["/", "/list"],
  probe: ["/healthz", { path: "/healthz", times: 2, headers: { host: "www.example.com" } }],
};

for (const [kind, app] of Object.entries({ fetching, listening })) {
  Deno.test(`a version that answers its probes badly takes nobody's place, by reload, rollback or upgrade: ${kind}`, async () => {
    await using server = await Server.start({
      files: { "app.ts": app("broken at the start") },
      config: { reload: { ...QUICK, ...PROBES }, log: { folder: "./log", access: "json" } },
    });
    // Nothing better would serve; and nobody was asked.
    assertEquals(await server.text("/asked"), "broken at the start 1");

    server.project.write("app.ts", app("good"));
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await server.text("/asked"), "good 6");

    server.project.write("app.ts", app("broken again"));
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertStringIncludes(
      String(reason),
      "reload.probe: GET /healthz was answered with 503",
    );
    assertStringIncludes(String(reason), "not with 200 to 299: no database");
    assertEquals(await server.text("/asked"), "good 7");

    // What takes the place of a worker that died is wanted at once.
    const [worker] = (await server.status()).generations.at(-1)!.workers;
    Deno.kill(worker!.process!.pid, "SIGKILL");
    await until("another worker", async () => {
      const [now] = (await server.status()).generations.at(-1)!.workers;
      return now!.process !== null && now!.process.pid !== worker!.process!.pid &&
        await server.text("/asked").catch(() => "") === "good 1";
    });

    // The config that is brought back has the probes too, and the version before is no good.
    const rollback = await runCommand(server.project, "rollback");
    assertEquals(rollback.code, 1);
    assertStringIncludes(rollback.stdout + rollback.stderr, "was answered with 503");
    const upgrade = await runCommand(server.project, "upgrade");
    assertEquals(upgrade.code, 1);
    assertStringIncludes(upgrade.stdout + upgrade.stderr, "was answered with 503");
    // It was rehearsed: the supervisor is the old one still.
    const { state, upgrades } = await server.status();
    assertEquals([state, upgrades], ["serving", 0]);
    assertStringIncludes(await server.text("/asked"), "good ");
    await server.project.write("app.ts", app("mended"));
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await server.text("/asked"), "mended 6");

    // The probes are no clients: no record has their paths.
    const log = await Deno.readTextFile(join(server.project.folder, "log/access.log"));
    assert(log.includes("/asked") && !log.includes("/healthz") && !log.includes("/list"), log);
  });
}
