/**
 * Processor time for each request over TLS, as a ratio of a bare `Deno.serve({ cert, key })` to Holdfast's
 * worker, with the same app: both run at once, are measured in turn, and the median of the rounds is
 * printed; above 1 Holdfast takes less. So are requests a second, as a ratio of Holdfast to bare; and the
 * memory of idle connections. Needs `wrk`, `h2load` and `openssl`.
 *
 *     deno run -A benches/tls_bench.ts [--rounds 5] [--seconds 2] [--idle 4000]
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
  string: ["rounds", "seconds", "idle"],
  default: { rounds: "5", seconds: "2", idle: "4000" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");
const idle = countOf(args.idle, "idle");

/** A kind of load, and what it asks for. */
type Load = readonly [kind: Kind, path: string];

const NEW_CONNECTIONS: Load = [{ ...KINDS[1]!, name: "a connection a request" }, ""];

/** What is measured with each kind of key: only new connections tell the difference. */
const LOADS: Record<"ec" | "rsa", readonly Load[]> = {
  ec: [
    [{ ...KINDS[0]!, name: "keep-alive" }, ""],
    [{ ...KINDS[2]!, name: "h2" }, ""],
    [wrk("100 KiB, keep-alive", ["-c16"]), "large"],
    NEW_CONNECTIONS,
  ],
  rsa: [NEW_CONNECTIONS],
};

interface Served {
  readonly pid: number;
  readonly port: number;
}
type Both = Record<"bare" | "holdfast", Served>;

await using authority = await Authority.create();
const rows: unknown[] = [];
const memory: unknown[] = [];
for (const key of ["ec", "rsa"] as const) {
  const { project, port } = await createTlsProject(await authority.issue(key), {
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
  const both: Both = {
    bare: { pid: bare.pid, port: barePort },
    holdfast: { pid: worker!, port },
  };
  try {
    await until(
      "the bare server",
      () =>
        Deno.connect({ hostname: "127.0.0.1", port: barePort }).then(
          (c) => (c.close(), true),
          () => false,
        ),
    );
    for (const load of LOADS[key]) rows.push(await compare(both, load, key));
    if (key === "ec") {
      for (const who of ["bare", "holdfast"] as const) memory.push(await weigh(who, both[who]));
    }
  } finally {
    bare.kill("SIGKILL");
    await bare.status;
  }
}
print(`\nBare and Holdfast, medians of ${rounds} rounds of ${seconds} s`);
printTable(rows);
print(`\n${idle} idle connections, each after one request`);
printTable(memory);

/** Measures one kind of load at both, in turn. */
async function compare(both: Both, [kind, path]: Load, key: string): Promise<unknown> {
  const ratios: number[] = [];
  const speeds: number[] = [];
  let failed = 0;
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? ["bare", "holdfast"] as const : ["holdfast", "bare"] as const;
    const cost = { bare: 0, holdfast: 0 };
    const speed = { bare: 0, holdfast: 0 };
    for (const who of order) {
      const { pid, port } = both[who];
      const before = cpuSeconds(pid);
      const target = `127.0.0.1:${port}`;
      const measured = await measure(kind, target, seconds, `https://${target}/${path}`);
      if (who === "holdfast") failed += measured.failed;
      const requests = measured.perSecond * seconds;
      if (requests === 0) throw new Error(`${who} has answered nothing`);
      cost[who] = (cpuSeconds(pid) - before) / requests;
      speed[who] = measured.perSecond;
    }
    ratios.push(cost.bare / cost.holdfast);
    speeds.push(speed.holdfast / speed.bare);
  }
  return {
    kind: `${kind.name}, ${key === "ec" ? "ECDSA" : "RSA"}`,
    "processor time": medianOf(ratios).toFixed(2),
    least: Math.min(...ratios).toFixed(2),
    most: Math.max(...ratios).toFixed(2),
    "requests a second": medianOf(speeds).toFixed(2),
    failed,
  };
}

/** What idle connections add to a process; both ends are of this machine, so each needs a descriptor here. */
async function weigh(who: string, { pid, port }: Served): Promise<unknown> {
  const before = pssKib(pid);
  const connections: Deno.Conn[] = [];
  const request = new TextEncoder().encode("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
  const place = { hostname: "127.0.0.1", port, caCerts: [authority.cert] };
  const open = async () => {
    while (connections.length < idle) {
      const connection = await Deno.connectTls(place);
      connections.push(connection);
      await connection.write(request);
      await connection.read(new Uint8Array(4_096));
    }
  };
  await Promise.all(Array.from({ length: 16 }, open));
  const more = pssKib(pid) - before;
  for (const connection of connections) connection.close();
  const each = (more / connections.length).toFixed(1);
  return { who, "PSS before, MiB": (before / 1_024).toFixed(0), "KiB a connection": each };
}

/** proc_pid_smaps_rollup: what is shared is counted in shares. */
function pssKib(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`))![1]);
}
