/**
 * Processor time for each request over TLS, as a ratio of a bare `Deno.serve({ cert, key })` to Holdfast's
 * worker, with the same app: both run at once, are measured in turn, and the median of the rounds is
 * printed; above 1 Holdfast takes less. Needs `wrk`, `h2load` and `openssl`.
 *
 *     deno run -A benches/tls_bench.ts [--rounds 5] [--seconds 2]
 */
import { parseArgs } from "@std/cli";
import { fileURLToPath } from "node:url";
import { Authority } from "../tests/harness/certificates.ts";
import { freePort } from "../tests/harness/ports.ts";
import { Server } from "../tests/harness/server.ts";
import { createTlsProject } from "../tests/harness/tls.ts";
import { until } from "../tests/harness/wait.ts";
import { countOf, cpuSeconds, medianOf, print, printTable } from "./figures.ts";
import { type Kind, KINDS, measure, wrk } from "./load_tool.ts";

const SERVER = fileURLToPath(new URL("./tls_server.ts", import.meta.url));

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds"],
  default: { rounds: "5", seconds: "2" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

/** A kind of load, and what it asks for. */
const LOADS: readonly (readonly [kind: Kind, path: string])[] = [
  [{ ...KINDS[0]!, name: "keep-alive" }, ""],
  [{ ...KINDS[1]!, name: "a connection a request, ECDSA" }, ""],
  [{ ...KINDS[2]!, name: "h2" }, ""],
  [wrk("100 KiB, keep-alive", ["-c16"]), "large"],
];

await using authority = await Authority.create();
const pair = await authority.issue("ec");
const { project, port } = await createTlsProject(pair, {
  files: { "app.ts": await Deno.readTextFile(SERVER) },
});
await using server = await Server.startOn(project);
const [worker] = await server.workers();
const barePort = freePort();
const bare = new Deno.Command(Deno.execPath(), {
  args: [
    ...["run", "-A", "--no-lock", SERVER, String(barePort)],
    ...[project.path("tls/cert.pem"), project.path("tls/key.pem")],
  ],
  stdin: "null",
  stdout: "null",
}).spawn();
try {
  await until(
    "the bare server",
    () =>
      Deno.connect({ hostname: "127.0.0.1", port: barePort }).then(
        (c) => (c.close(), true),
        () => false,
      ),
  );
  const rows = [];
  for (const [kind, path] of LOADS) {
    const ratios: number[] = [];
    let failed = 0;
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? ["bare", "holdfast"] as const : ["holdfast", "bare"] as const;
      const cost = { bare: 0, holdfast: 0 };
      for (const who of order) {
        const pid = who === "bare" ? bare.pid : worker!;
        const before = cpuSeconds(pid);
        const target = `127.0.0.1:${who === "bare" ? barePort : port}`;
        const measured = await measure(kind, target, seconds, `https://${target}/${path}`);
        if (who === "holdfast") failed += measured.failed;
        const requests = measured.perSecond * seconds;
        if (requests === 0) throw new Error(`${who} has answered nothing`);
        cost[who] = (cpuSeconds(pid) - before) / requests;
      }
      ratios.push(cost.bare / cost.holdfast);
    }
    rows.push({
      kind: kind.name,
      ratio: medianOf(ratios).toFixed(2),
      least: Math.min(...ratios).toFixed(2),
      most: Math.max(...ratios).toFixed(2),
      failed,
    });
  }
  print(`\nProcessor time a request, bare to Holdfast, median of ${rounds} rounds of ${seconds} s`);
  printTable(rows);
} finally {
  bare.kill("SIGKILL");
  await bare.status;
}
