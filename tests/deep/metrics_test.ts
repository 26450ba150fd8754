import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { loadConfig } from "../../lib/config/load.ts";
import { Stats } from "../../lib/metrics/stats.ts";
import type { ProcessStatus } from "../../lib/protocol/control.ts";
import { LATENCY_BOUNDS_S, LATENCY_BUCKETS } from "../../lib/protocol/latency.ts";
import { Wire } from "../harness/http.ts";
import { servingWorkers } from "../harness/life.ts";
import { findMissing, recordSkip } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { isAlive, readArguments, readStatus } from "../harness/process.ts";
import { PLAIN_APP, Project, REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { statusWith } from "../harness/status.ts";
import { until } from "../harness/wait.ts";

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

/** Has promtool look at it, where there is one. */
async function promtool(args: string[], input = ""): Promise<void> {
  const why = findMissing({ programs: ["promtool"] });
  if (why !== undefined) return recordSkip({ name: `promtool ${args.join(" ")}`, why });
  const process = new Deno.Command("promtool", {
    args,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success, stdout, stderr } = await process.output();
  const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  assert(success, said);
}

async function processOf(server: Server): Promise<number> {
  return await until("the metrics process", async () => {
    return (await server.status()).metrics?.process?.pid;
  });
}

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

const FAMILY = "holdfast_request_duration_seconds";
const ANSWERED = 'holdfast_answered_total{role="worker"}';

Deno.test("the figures are right after requests, reloads and a kill, and the process that tells them has nothing else", async (t) => {
  const port = freePort();
  await using server = await Server.start({
    files: { "app.ts": PACED_APP },
    config: {
      engine: "native",
      metrics: { listen: `127.0.0.1:${port}` },
      reload: { idleGraceMs: 100 },
    },
  });
  const { project } = server;
  let [quick, all] = [0, 0];

  /** Asks, and has the figures tell of it, once each. */
  const ask = async (...paths: string[]) => {
    for (const path of paths) {
      await server.text(path);
      all++;
      if (path !== "/slow") quick++;
    }
    await untilValue(port, ANSWERED, (value) => value >= all);
    const text = await scrape(port);
    const found = [`_bucket{le="0.25"}`, `_bucket{le="+Inf"}`, "_count"].map((suffix) =>
      valueOf(text, FAMILY + suffix)
    );
    assertEquals(valueOf(text, ANSWERED), all);
    // A busy machine may make a quick one slow, and none quicker.
    assertEquals(found.slice(1), [all, all]);
    assert(found[0]! <= quick, `${found[0]} of ${quick} were quick`);
    const slowSeconds = 0.299 * (all - quick);
    assert(valueOf(text, `${FAMILY}_sum`)! >= slowSeconds, `more than ${slowSeconds} s`);
    return text;
  };

  await t.step("every family of the alerts and of the dashboard is in a scrape", async () => {
    const text = await scrape(port);
    await promtool(["check", "metrics"], text);
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

  for (const [index, engine] of (["native", "node"] as const).entries()) {
    await t.step(
      `each answer counts once, and how long the app took; engine ${engine}`,
      async () => {
        if (index > 0) {
          await project.configure({ engine });
          assertEquals((await server.reload()).outcome, "done");
          await server.waitFor("generation_ended", index);
        }
        const text = await ask("/", "/", "/slow", "/body", "/throw", "/slow", "/");
        await promtool(["check", "metrics"], text);
        const statuses = ["2xx", "5xx"].map((status) =>
          valueOf(text, `holdfast_responses_total{status="${status}"}`)
        );
        assertEquals(statuses, [6 * (index + 1), index + 1]);
        const buckets = [...text.matchAll(/_duration_seconds_bucket\{le="(.+)"\} (\d+)/g)];
        assertEquals(buckets.length, 14);
        const counts = buckets.map(([, , count]) => Number(count));
        assertEquals(counts, counts.toSorted((a, b) => a - b));
      },
    );
  }

  await t.step("a refused reload and a kill show, and nothing is counted twice", async () => {
    await project.write("app.ts", "export default 1;");
    assertEquals((await server.reload()).outcome, "refused");
    await untilValue(port, 'holdfast_reloads_total{outcome="refused"}', (value) => value === 1);
    await project.write("app.ts", PACED_APP);
    Deno.kill((await servingWorkers(server))[0]!, "SIGKILL");
    await untilValue(port, 'holdfast_replacements{role="worker"}', (value) => value === 1);
    const text = await ask("/slow", "/");
    const expected = {
      [ANSWERED]: 16,
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

  await t.step("what is not GET /metrics is told so", async () => {
    const statusOf = async (path: string, method = "GET") => {
      using wire = await Wire.open(port);
      return (await wire.ask(path, { method })).status;
    };
    assertEquals(await statusOf("/"), 404);
    assertEquals(await statusOf("/metrics", "POST"), 405);
    assertEquals(await statusOf("/metrics?now"), 200);
  });

  await t.step(
    "a hostile scraper neither touches the supervisor nor shuts others out for long",
    async () => {
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
        assertEquals(await server.text("/"), "fast");
        assertEquals((await server.reload()).outcome, "done");
        await until("no more descriptors than before", async () => {
          return (await server.status()).descriptors < before + 50;
        });
        assertEquals(await processOf(server), pid);
        // The slow ones still hold on: their time runs out.
        await until("a place for an honest one", async () => {
          try {
            using wire = await Wire.open(port);
            return (await wire.ask("/metrics")).status === 200;
          } catch {
            return false;
          }
        });
      }
      using wire = await Wire.open(port);
      await wire.write(
        `GET /metrics HTTP/1.1\r\nhost: x\r\nx-long: ${"a".repeat(1_000_000)}\r\n\r\n`,
      )
        .catch(() => {});
      assertStringIncludes(await scrape(port), "holdfast_info");
      assertEquals(await processOf(server), pid);
    },
  );

  await t.step(
    "it is granted nothing, is behind the wall, and is replaced when it dies",
    async () => {
      const pid = await processOf(server);
      const args = readArguments(pid).slice(1);
      assertEquals(args.filter((arg) => arg.startsWith("--allow")), ["--allow-ffi"]);
      for (const kind of ["write", "net", "run", "sys", "import"]) {
        assert(args.includes(`--deny-${kind}`), kind);
      }
      assert(args.includes("--ignore-read"));
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
      assertEquals(await server.text("/"), "fast");
    },
  );
});

Deno.test("a reload brings, keeps and ends the metrics process, and without one no worker looks at how long the app takes", async () => {
  await using server = await Server.start();
  const { project } = server;
  const latencyOf = async () => {
    const { generations } = await server.status();
    const serving = generations.find(({ state }) => state === "serving");
    const { answered = 0, latency } = serving?.workers[0]?.process ?? {};
    return answered > 0 && { latency };
  };
  assertEquals((await server.status()).metrics, null);
  await server.text("/");
  assertEquals(await until("the answer in status", latencyOf), { latency: undefined });
  const path = project.path("metrics.sock");
  await project.configure({ metrics: { listen: "unix:./metrics.sock" } });
  assertEquals((await server.reload()).outcome, "done");
  await server.text("/");
  const { latency } = await until("the answer in status", latencyOf);
  assertEquals(latency?.counts.reduce((sum, count) => sum + count, 0), 1);
  const first = await processOf(server);
  const ask = async () => {
    using wire = await Wire.open(path);
    return (await wire.ask("/metrics")).status;
  };
  await until("figures on the socket", async () => await ask() === 200);
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await processOf(server), first);
  const taken = `127.0.0.1:${project.port}`;
  await project.configure({ metrics: { listen: taken } });
  assertEquals((await server.reload()).outcome, "refused");
  assertEquals(await processOf(server), first);
  assertEquals(await ask(), 200);
  await project.configure({ metrics: undefined });
  assertEquals((await server.reload()).outcome, "done");
  await until("the end of the metrics process", () => !isAlive(first));
  assertEquals((await server.status()).metrics, null);
});

Deno.test("logger and metrics process get the wall that a reload brings, and are kept where nothing of theirs changes", async () => {
  const port = freePort();
  const metrics = { listen: `127.0.0.1:${port}` };
  await using server = await Server.start({
    config: { wall: "deno", metrics, log: { folder: "./log" } },
  });
  const { project } = server;
  const both = async () => {
    const { logger, metrics } = await server.status();
    return [logger!.process!.pid, metrics!.process!.pid] as const;
  };
  // The supervisor has a program of its own, which they inherit.
  const inherited = Number(readStatus(Deno.pid)!["Seccomp_filters"]) + 1;
  const ownPrograms = async () =>
    (await both()).map((pid) => Number(readStatus(pid)!["Seccomp_filters"]) - inherited);
  const before = await both();
  assertEquals(await ownPrograms(), [0, 0]);

  // One that is refused takes neither process nor address away.
  await project.write("app.ts", "export default 1;");
  await project.configure({ wall: "kernel" });
  assertEquals((await server.reload()).outcome, "refused");
  assertEquals(await both(), before);
  assertStringIncludes(await scrape(port), "holdfast_info");

  await project.write("app.ts", PLAIN_APP);
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await ownPrograms(), [2, 2]);
  assertStringIncludes(await scrape(port), "holdfast_info");
  await until("the old ones to leave", () => before.every((pid) => !isAlive(pid)));
  assertStringIncludes(await scrape(port), "holdfast_info");

  const walled = await both();
  await project.write("app.ts", `${PLAIN_APP}\n// another version`);
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await both(), walled);
  await until("both in the log", async () => {
    const log = await Deno.readTextFile(project.path("log/holdfast.log"));
    return log.match(/"event":"reload_done"/g)?.length === 2;
  });
});

Deno.test("an address that other machines reach is refused", async () => {
  await using project = await Project.create({ files: { "app.ts": PLAIN_APP } });
  for (const listen of ["0.0.0.0:9464", "[::]:9464", "192.0.2.1:9464"]) {
    await project.configure({ metrics: { listen } });
    const { message } = await assertRejects(() => loadConfig(project.configFile), Error);
    assertStringIncludes(message, "other machines");
  }
});

Deno.test("a request is counted once, however often it was told, and a counter never falls", async () => {
  const figures = new Stats();
  const answered = async (...workers: Partial<ProcessStatus>[]) => {
    figures.observe(statusWith(...workers));
    return valueOf(await figures.text(), ANSWERED);
  };
  assertEquals(await answered({ worker: 1, answered: 3 }), 3);
  assertEquals(await answered({ worker: 1, answered: 3 }), 3);
  assertEquals(await answered({ worker: 1, answered: 5 }, { worker: 2, answered: 2 }), 7);
  // The first one is gone; what it did stays.
  assertEquals(await answered({ worker: 2, answered: 2 }), 7);
  // One that was taken over tells less than before.
  assertEquals(await answered({ worker: 2, answered: 1 }), 7);
  assertEquals(await answered({ worker: 2, answered: 4 }), 10);
});

Deno.test("how long requests took is summed up over all workers, each in its bucket", async () => {
  const figures = new Stats();
  const latency = (quick: number, slow: number) => {
    const counts: number[] = new Array(LATENCY_BUCKETS).fill(0);
    counts[LATENCY_BOUNDS_S.indexOf(0.25)] = quick;
    counts[LATENCY_BOUNDS_S.indexOf(0.5)] = slow;
    return { counts, statuses: [0, quick, 0, 0, slow], sumMs: 200 * quick + 300 * slow };
  };
  const found = async (...workers: Partial<ProcessStatus>[]) => {
    figures.observe(statusWith(...workers));
    const text = await figures.text();
    return [
      ...[`_bucket{le="0.1"}`, `_bucket{le="0.25"}`, `_bucket{le="0.5"}`, "_count", "_sum"]
        .map((suffix) => FAMILY + suffix),
      ...["2xx", "5xx"].map((status) => `holdfast_responses_total{status="${status}"}`),
    ].map((name) => valueOf(text, name));
  };
  assertEquals(await found({ worker: 1, latency: latency(3, 2) }), [0, 3, 5, 5, 1.2, 3, 2]);
  assertEquals(
    await found({ worker: 1, latency: latency(4, 2) }, { worker: 2, latency: latency(1, 0) }),
    [0, 5, 7, 7, 1.6, 5, 2],
  );
});
