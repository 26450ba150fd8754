import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Wire } from "./harness/http.ts";
import { isAlive, readArguments, readStatus } from "./harness/process.ts";
import { REPOSITORY } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";
import { freePort } from "./harness/ports.ts";

interface Watched extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
}

async function start(
  config: Record<string, unknown> = {},
  files: Record<string, string> = {},
): Promise<Watched> {
  const port = freePort();
  const server = await Server.start({
    files,
    config: { metrics: { listen: `127.0.0.1:${port}` }, ...config },
  });
  return { server, port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

/** The figures as text, once there are any. */
async function scrape(port: number): Promise<string> {
  return await until("figures", async () => {
    using wire = await Wire.open(port);
    const { status, text } = await wire.ask("/metrics");
    return status === 200 && text;
  });
}

/** The value of a sample, by its name with its labels; `undefined` if it is not there. */
function valueOf(text: string, sample: string): number | undefined {
  const line = text.split("\n").find((line) => line.startsWith(`${sample} `));
  return line === undefined ? undefined : Number(line.slice(sample.length + 1));
}

async function untilValue(port: number, sample: string, wanted: (value: number) => boolean) {
  return await until(sample, async () => {
    const value = valueOf(await scrape(port), sample);
    return value !== undefined && wanted(value);
  });
}

async function promtool(args: string[], input = ""): Promise<string> {
  let process: Deno.ChildProcess;
  try {
    process = new Deno.Command("promtool", {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  } catch (error) {
    throw new Error("promtool is missing: install the package prometheus", { cause: error });
  }
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await process.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert(success, said);
  return said;
}

async function processOf(server: Server): Promise<number> {
  return await until("the metrics process", async () => {
    return (await server.status()).metrics?.process?.pid;
  });
}

Deno.test("promtool finds nothing wrong with the figures, and they are right after requests, reloads and a kill", async () => {
  await using watched = await start();
  const { server, port } = watched;
  await promtool(["check", "metrics"], await scrape(port));
  for (let count = 0; count < 7; count++) await server.text("/");
  await untilValue(port, 'holdfast_answered_total{role="worker"}', (value) => value === 7);
  assertEquals((await server.hangUp()).event, "reload_done");
  await server.waitFor("generation_ended");
  await server.text("/");
  await untilValue(port, 'holdfast_answered_total{role="worker"}', (value) => value === 8);
  await server.project.write("app.ts", "export default 1;");
  assertEquals((await server.hangUp()).event, "reload_refused");
  await untilValue(port, 'holdfast_reloads_total{outcome="refused"}', (value) => value === 1);
  await server.project.write("app.ts", "export default { fetch: () => new Response('three') };");
  const [worker] = await server.workers();
  Deno.kill(worker!, "SIGKILL");
  await untilValue(port, 'holdfast_replacements{role="worker"}', (value) => value === 1);
  const text = await scrape(port);
  const expected = {
    // Each was counted once, however often it was told.
    'holdfast_answered_total{role="worker"}': 8,
    'holdfast_reloads_total{outcome="done"}': 1,
    'holdfast_reloads_total{outcome="refused"}': 1,
    'holdfast_drains_total{outcome="drained"}': 1,
    holdfast_drain_cut_connections_total: 0,
    'holdfast_events_total{event="worker_lost"}': 1,
    'holdfast_generations{state="serving"}': 1,
    'holdfast_workers{state="serving"}': 1,
    holdfast_workers_missing: 0,
  };
  for (const [sample, value] of Object.entries(expected)) {
    assertEquals(valueOf(text, sample), value, sample);
  }
  const memory = 'holdfast_process_memory_bytes{role="supervisor",generation="",worker=""}';
  assert(valueOf(text, memory)! > 2 ** 20, memory);
});

/** A route that answers at once, one late, one at once with a late body, and one that fails. */
const PACED_APP = `
  const later = () => new Promise((resolve) => setTimeout(resolve, 300));
  export default {
    fetch(request: Request): Response | Promise<Response> {
      const { pathname } = new URL(request.url);
      if (pathname === "/throw") throw new Error("asked to");
      if (pathname === "/slow") return later().then(() => new Response("slow"));
      if (pathname !== "/body") return new Response("fast");
      return new Response(new ReadableStream({
        async start(controller) {
          await later();
          controller.enqueue(new TextEncoder().encode("body"));
          controller.close();
        },
      }));
    },
  };
`;

for (const engine of ["native", "node"]) {
  Deno.test(`how long the app took is right after requests, a reload and a kill; engine ${engine}`, async () => {
    await using watched = await start({ engine }, { "app.ts": PACED_APP });
    const { server, port } = watched;
    const family = "holdfast_request_duration_seconds";
    let [quick, all] = [0, 0];
    const ask = async (...paths: string[]) => {
      for (const path of paths) {
        await server.text(path);
        all++;
        if (path !== "/slow") quick++;
      }
      await untilValue(port, 'holdfast_answered_total{role="worker"}', (value) => value === all);
      const text = await scrape(port);
      const found = [`_bucket{le="0.25"}`, `_bucket{le="+Inf"}`, "_count"].map((suffix) =>
        valueOf(text, family + suffix)
      );
      assertEquals(found, [quick, all, all]);
      const slowSeconds = 0.299 * (all - quick);
      assert(valueOf(text, `${family}_sum`)! >= slowSeconds, `more than ${slowSeconds} s`);
      return text;
    };
    const text = await ask("/", "/", "/slow", "/body", "/throw", "/slow", "/");
    await promtool(["check", "metrics"], text);
    const buckets = [...text.matchAll(/_duration_seconds_bucket\{le="(.+)"\} (\d+)/g)];
    assertEquals(buckets.length, 14);
    const counts = buckets.map(([, , count]) => Number(count));
    assertEquals(counts, counts.toSorted((a, b) => a - b));
    assertEquals((await server.hangUp()).event, "reload_done");
    await server.waitFor("generation_ended");
    await ask("/", "/slow");
    Deno.kill((await server.workers())[0]!, "SIGKILL");
    await untilValue(port, 'holdfast_replacements{role="worker"}', (value) => value === 1);
    await ask("/slow", "/");
  });
}

Deno.test("without metrics no worker looks at how long the app takes", async () => {
  await using server = await Server.start();
  await server.text("/");
  const latencyOf = async () => {
    const { generations } = await server.status();
    const { answered = 0, latency } = generations.at(-1)?.workers[0]?.process ?? {};
    return answered > 0 && { latency };
  };
  assertEquals(await until("the answer in status", latencyOf), { latency: undefined });
  const metrics = { listen: `127.0.0.1:${freePort()}` };
  await server.project.configure({ metrics });
  assertEquals((await server.hangUp()).event, "reload_done");
  await server.waitFor("generation_ended");
  await server.text("/");
  const { latency } = await until("the answer in status", latencyOf);
  assertEquals(latency?.counts.reduce((sum, count) => sum + count, 0), 1);
});

Deno.test("the metrics process is granted nothing, is behind the wall, and is replaced when it dies", async () => {
  await using watched = await start();
  const { server, port } = watched;
  const pid = await processOf(server);
  const args = readArguments(pid).slice(1);
  assertEquals(args.filter((arg) => arg.startsWith("--allow")), []);
  for (const kind of ["read", "write", "net", "run", "ffi", "sys", "import"]) {
    assert(args.includes(`--deny-${kind}`), kind);
  }
  const status = readStatus(pid)!;
  assertEquals({ bound: status["NoNewPrivs"], seccomp: status["Seccomp"] }, {
    bound: "1",
    seccomp: "2",
  });
  Deno.kill(pid, "SIGKILL");
  await until("another one", async () => {
    const { metrics } = await server.status();
    return metrics?.replacements === 1 && metrics.process !== null;
  });
  assertStringIncludes(await scrape(port), "holdfast_info");
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a reload moves, keeps and ends the metrics process, and one that is refused touches nothing", async () => {
  await using server = await Server.start();
  assertEquals((await server.status()).metrics, null);
  const path = server.project.path("metrics.sock");
  await server.project.configure({ metrics: { listen: "unix:./metrics.sock" } });
  assertEquals((await server.hangUp()).event, "reload_done");
  const first = await processOf(server);
  const ask = async () => {
    using wire = await Wire.open(path);
    return (await wire.ask("/metrics")).status;
  };
  await until("figures on the socket", async () => await ask() === 200);
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await processOf(server), first);
  const taken = `127.0.0.1:${server.project.port}`;
  await server.project.configure({ metrics: { listen: taken } });
  assertEquals((await server.hangUp()).event, "reload_refused");
  assertEquals(await processOf(server), first);
  assertEquals(await ask(), 200);
  await server.project.configure({ metrics: undefined });
  assertEquals((await server.hangUp()).event, "reload_done");
  await until("the end of the metrics process", () => !isAlive(first));
  assertEquals((await server.status()).metrics, null);
});

Deno.test("an address that other machines reach is refused", async () => {
  await using server = await Server.start();
  for (const listen of ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"]) {
    await server.project.configure({ metrics: { listen } });
    const { code, stderr } = await runCommand(server.project, "check");
    assertEquals(code, 78);
    assertStringIncludes(stderr, "other machines");
  }
});

Deno.test("a hostile scraper neither touches the supervisor nor shuts others out for long", async () => {
  await using watched = await start();
  const { server, port } = watched;
  await scrape(port);
  const pid = await processOf(server);
  const before = (await server.status()).descriptors;
  {
    using stack = new DisposableStack();
    for (let count = 0; count < 1_000; count++) {
      try {
        const wire = stack.use(await Wire.open(port));
        await wire.write("GET /metrics HTTP/1.1\r\nhost: x\r\nx-slow: ");
      } catch {
        // It was hung up on.
      }
    }
    assertEquals(await server.text("/"), "one /");
    assertEquals((await server.hangUp()).event, "reload_done");
    const { descriptors, metrics } = await server.status();
    assert(descriptors < before + 50, `${before} became ${descriptors}`);
    assertEquals(metrics?.process?.pid, pid);
    // The slow ones still hold on: their time runs out.
    await until("a place for an honest one", async () => {
      try {
        using wire = await Wire.open(port);
        return (await wire.ask("/metrics")).status === 200;
      } catch {
        await sleep(200);
        return false;
      }
    });
  }
  using wire = await Wire.open(port);
  await wire.write(`GET /metrics HTTP/1.1\r\nhost: x\r\nx-long: ${"a".repeat(1_000_000)}\r\n\r\n`)
    .catch(() => {});
  assertStringIncludes(await scrape(port), "holdfast_info");
  assertEquals(await processOf(server), pid);
});

Deno.test("what is not GET /metrics is told so", async () => {
  await using watched = await start();
  const statusOf = async (path: string, method = "GET") => {
    using wire = await Wire.open(watched.port);
    return (await wire.ask(path, { method })).status;
  };
  assertEquals(await statusOf("/"), 404);
  assertEquals(await statusOf("/metrics", "POST"), 405);
  await scrape(watched.port);
  assertEquals(await statusOf("/metrics?now"), 200);
});

Deno.test("every family of the alerts and of the dashboard is in a scrape", async () => {
  await using watched = await start();
  const text = await scrape(watched.port);
  const rules = join(REPOSITORY, "deploy/prometheus/holdfast.rules.yml");
  await promtool(["check", "rules", rules]);
  const known = new Set([...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name]) => name));
  const sampled = new Set([...text.matchAll(/^(\w+)/gm)].map(([name]) => name));
  for (const file of [rules, join(REPOSITORY, "deploy/grafana/holdfast.json")]) {
    const names = (await Deno.readTextFile(file)).match(/\bholdfast_\w+/g) ?? [];
    assert(names.length > 5, file);
    assertEquals(names.filter((name) => !known.has(name) && !sampled.has(name)), [], file);
  }
  const documented = await Deno.readTextFile(join(REPOSITORY, "docs/metrics.md"));
  assertEquals([...known].filter((name) => !documented.includes(`\`${name}\``)), []);
});
