/** Accepting goes on after whatever stopped it, and a worker that does not is replaced. */
import { assert, assertEquals } from "@std/assert";
import { testWith } from "../harness/needs.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

const WATCHDOG = { pulseDeadlineMs: 4_000 };
const DESCRIPTORS = 128;

/** An app that opens a file and forgets it, at each request for it, until it can have no more. */
const LEAKING_APP = `
const kept = [];
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    while (pathname === "/leak") {
      try {
        kept.push(Deno.openSync("file"));
      } catch {
        break;
      }
    }
    return new Response("one " + pathname);
  },
};
`;

function connectTo(port: number, count: number): Promise<Deno.Conn[]> {
  return Promise.all(
    Array.from({ length: count }, () => Deno.connect({ hostname: "127.0.0.1", port })),
  );
}

for (const engine of ["native", "node"]) {
  Deno.test(`a worker whose app keeps every descriptor is replaced, and who waits is answered (${engine})`, async () => {
    await using server = await Server.start({
      files: { "app.ts": LEAKING_APP, file: "" },
      config: {
        engine,
        unveil: { "./file": "r" },
        watchdog: WATCHDOG,
        limits: { descriptors: DESCRIPTORS },
      },
    });
    const [pid] = await server.workers();
    assertEquals(await server.text("/leak"), "one /leak");
    // The descriptor of that one came free again.
    const held = await connectTo(server.project.port, 3);
    assertEquals(await server.text("/waits"), "one /waits");
    for (const connection of held) connection.close();
    const { pid: found } = await server.waitFor("worker_not_accepting");
    assertEquals(found, pid);
    await server.waitFor("worker_replaced");
    assertEquals(server.eventsOf("worker_lost"), []);
  });

  Deno.test(`a worker whose clients have every descriptor is not replaced (${engine})`, async () => {
    await using server = await Server.start({
      config: { engine, watchdog: WATCHDOG, limits: { descriptors: DESCRIPTORS } },
    });
    const pids = await server.workers();
    const held = await connectTo(server.project.port, 2 * DESCRIPTORS);
    await server.waitFor("accepting_stalled");
    // Longer than its first seconds, and than the watchdog's time.
    await sleep(16_000);
    assertEquals(await server.workers(), pids);
    for (const connection of held) connection.close();
    assertEquals(await server.text("/after"), "one /after");
    assertEquals(server.eventsOf("worker_not_accepting"), []);
  });

  // The kernel's wall ends a process whose calls a tracer changes.
  for (const error of ["ECONNABORTED", "ENOBUFS", "ENOMEM", "ENFILE"]) {
    testWith(
      { programs: ["strace"], root: true },
      `accepting goes on after ${error} (${engine})`,
      async () => {
        await using server = await Server.start({ config: { engine, wall: "deno" } });
        const [pid] = await server.workers();
        const log = server.project.path("strace.log");
        const tracer = new Deno.Command("strace", {
          args: ["-f", "-qq", "-o", log, "-p", String(pid)].concat(
            ["-e", "trace=accept4", "-e", `inject=accept4:error=${error}:when=1..2`],
          ),
          stderr: "null",
        }).spawn();
        await until("the tracer", () => {
          const status = Deno.readTextFileSync(`/proc/${pid}/status`);
          return /^TracerPid:\s*[1-9]/m.test(status);
        });
        assertEquals(await server.text("/after"), "one /after");
        tracer.kill("SIGTERM");
        await tracer.status;
        assert(Deno.readTextFileSync(log).includes("INJECTED"), "nothing was injected");
        assertEquals(await server.workers(), [pid]);
      },
    );
  }
}
