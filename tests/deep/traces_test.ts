import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { EXIT } from "../../lib/base/exit_code.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { ConfigError } from "../../lib/config/problem.ts";
import { type CollectedSpan, Collector } from "../harness/collector.ts";
import { concat, formatRequest, Wire } from "../harness/http.ts";
import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { freePort } from "../harness/ports.ts";

/** Answers, and tells whether the app itself reaches a URL that it is asked for. */
const APP = `
export default {
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/crash") setTimeout(() => { throw new Error("asked to"); });
    if (pathname !== "/dial") return new Response("app " + pathname);
    try {
      await fetch(searchParams.get("to"));
      return new Response("reached");
    } catch (error) {
      return new Response(error.name);
    }
  },
};
`;

async function start(collector: string, config: Record<string, unknown> = {}): Promise<Server> {
  return await Server.start({
    files: { "app.ts": APP },
    config: {
      traces: { collector, service: "guestbook" },
      reload: { idleGraceMs: 0 },
      ...config,
    },
  });
}

/** The steps of workers, as `generation step reason`. */
function stepsOf(spans: readonly CollectedSpan[]): string[] {
  return spans.filter(({ name }) => name.startsWith("holdfast.")).map((
    { name, attributes, resource },
  ) =>
    [resource["holdfast.generation"], name, attributes["holdfast.reason"] ?? ""].join(" ").trim()
  ).sort();
}

/** Every way to serve, a generation each. */
const WAYS = [
  { wall: "kernel", engine: "native" },
  { wall: "kernel", engine: "node" },
  { wall: "deno", engine: "native" },
  { wall: "deno", engine: "node" },
] as const;

Deno.test("requests and the steps of reloads come to the collector, behind either wall and by either engine", async () => {
  await using collector = new Collector();
  await using server = await start(collector.address, WAYS[0]);
  for (const [index, way] of WAYS.entries()) {
    if (index > 0) {
      await server.project.configure(way);
      assertEquals((await server.reload()).outcome, "done");
    }
    const traceparent = `00-${"ab".repeat(16)}-${"cd".repeat(8)}-01`;
    const answer = await server.get(`/${index}`, { headers: { traceparent } });
    assertEquals(await answer.text(), `app /${index}`);
    assertEquals((await server.waitFor("worker_ready", index + 1)).engine, way.engine);
  }
  await server.waitFor("generation_ended", WAYS.length - 1);
  server.signal("SIGTERM");
  await server.exited();
  assertEquals(stepsOf(collector.spans), [
    "1 holdfast.drain replaced",
    "1 holdfast.start",
    "2 holdfast.drain replaced",
    "2 holdfast.start",
    "3 holdfast.drain replaced",
    "3 holdfast.start",
    "4 holdfast.drain stopping",
    "4 holdfast.start",
  ]);
  const asked = collector.spans.filter(({ attributes }) => attributes["url.path"]);
  assertEquals(
    asked.map(({ name, attributes, resource }) => [
      ...[resource["service.name"], resource["holdfast.generation"], name],
      ...[attributes["url.path"], attributes["http.response.status_code"]],
    ]).sort(),
    WAYS.map((_, index) => ["guestbook", String(index + 1), "GET", `/${index}`, "200"]),
  );
  // A stranger's is not taken up.
  assertEquals(asked.filter(({ traceId }) => traceId === "ab".repeat(16)), []);
  assertEquals([...new Set(collector.paths)], ["/v1/traces"]);
});

Deno.test("the collector is for spans alone, whatever the app does", async (t) => {
  await using collector = new Collector();
  await using server = await start(collector.address);
  await t.step("the app itself does not reach it, and explain says who does", async () => {
    assertEquals(await server.text(`/dial?to=http://${collector.address}/`), "NotCapable");
    const { code, stdout, stderr } = await runCommand(server.project, "explain");
    assertEquals(code, EXIT.ok, stderr);
    assertStringIncludes(stdout, "send traces to");
    assertStringIncludes(stdout, collector.address);
  });
  await t.step(
    "an error that ends a worker, and a long address, send no more than spans",
    async () => {
      assertEquals(await server.text(`/?${"x".repeat(8_000)}`), "app /");
      const crash = server.get("/crash").then((answer) => answer.text());
      await Promise.allSettled([crash]);
      await server.waitFor("worker_lost");
      await until("an answer", () => server.text("/").catch(() => undefined));
      assertEquals(await server.text(`/?${"y".repeat(8_000)}`), "app /");
    },
  );
  await t.step("without traces a worker has no word of any collector", async () => {
    await server.project.configure({ traces: undefined });
    assertEquals((await server.reload()).outcome, "done");
    const { pid } = (await server.status()).generations.at(-1)!.workers[0]!.process!;
    const environment = await Deno.readTextFile(`/proc/${pid}/environ`);
    assert(!environment.includes("OTEL_"), environment);
  });
  server.signal("SIGTERM");
  await server.exited();
  assertEquals([...new Set(collector.paths)], ["/v1/traces"]);
  const urls = collector.spans.map(({ attributes }) => attributes["url.full"] ?? "");
  assertEquals(Math.max(...urls.map(({ length }) => length)), 1_024);
});

Deno.test("a collector that is gone, or takes and says nothing, costs no request and no reload", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = silent.addr as Deno.NetAddr;
  const [gone, deaf] = [`127.0.0.1:${freePort()}`, `127.0.0.1:${port}`];
  // A worker that waited for its collector would be killed.
  const reload = { idleGraceMs: 0, drainDeadlineMs: 3_000 };
  await using server = await start(gone!, { reload });
  for (const next of [deaf, gone, undefined]) {
    using wire = await Wire.open(server.project.port);
    // What waits then would be several batches of the runtime's own size.
    for (let batch = 0; batch < 18; batch++) {
      await wire.write(concat(Array.from({ length: 100 }, () => formatRequest("/"))));
      for (let count = 0; count < 100; count++) assertEquals((await wire.answer()).text, "app /");
    }
    if (next === undefined) break;
    await server.project.configure({ traces: { collector: next, service: "guestbook" } });
    assertEquals((await server.reload()).outcome, "done");
  }
  await server.waitFor("generation_ended", 2);
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(
    server.eventsOf("generation_ended").map(({ outcome }) => outcome),
    ["drained", "drained", "drained"],
  );
});

Deno.test("an executable that deno compile makes is refused, before anything is built", async () => {
  await using project = await Project.create({
    files: { "app.ts": APP },
    config: { traces: { collector: "127.0.0.1:4318", service: "guestbook" } },
  });
  const output = join(project.folder, "app");
  const { code, stderr } = await runCommand(project, "compile", "--output", output);
  assertEquals(code, EXIT.config);
  assertStringIncludes(stderr, "Cannot build the traces to 127.0.0.1:4318");
});

for (
  const [collector, complaint] of [
    ["otel.example.com:4318", "is not an address with a port"],
    ["127.0.0.1", "is not an address with a port"],
    ["http://127.0.0.1:4318", "is a wildcard, a range or a URL"],
    ["0.0.0.0:4318", "is not a single host"],
  ] as const
) {
  Deno.test(`the collector ${collector} is refused`, async () => {
    await using project = await Project.create({
      config: { traces: { collector, service: "guestbook" } },
    });
    const { problems } = await assertRejects(() => loadConfig(project.configFile), ConfigError);
    assertStringIncludes(problems.map(({ message }) => message).join("\n"), complaint);
  });
}
