/** The proof that the load client can tell: two servers that are broken on purpose, under real load. */
import { assert, assertEquals } from "@std/assert";
import { type LoadReport, runLoad } from "../load/client.ts";
import { ServerProcess } from "../load/server_process.ts";
import { sleep } from "../load/wait.ts";

const LOAD_MS = 4_000;
const RELOADS = 3;
const PAUSE_BETWEEN_RELOADS_MS = 700;

Deno.test("a SO_REUSEPORT stop-and-start loses requests and the load client sees it", async () => {
  const report = await loadDuringReloads("reuseport_restart");
  assertAccounted(report);
  const { upload, upload_chunked, keep_alive_500 } = report.modes;
  assert(upload!.bad + upload_chunked!.bad > 0, "no upload was broken");
  assert(keep_alive_500!.raced > 0, "no idle connection was closed under the client");
  assert(report.total.ok > 0, "nothing was answered at all");
});

Deno.test("a drain that cuts loses requests and the load client sees it", async () => {
  const report = await loadDuringReloads("cutting_drain");
  assertAccounted(report);
  const { stream, upload, upload_chunked, sse } = report.modes;
  assert(stream!.lost > 0, "no stream was lost");
  assert(upload!.lost > 0, "no upload was lost");
  assert(upload_chunked!.lost > 0, "no chunked upload was lost");
  assert(sse!.lost > 0, "no event stream was lost");
  assert(report.total.ok > 0, "nothing was answered at all");
});

async function loadDuringReloads(name: "reuseport_restart" | "cutting_drain"): Promise<LoadReport> {
  await using server = await ServerProcess.start(name);
  const loading = runLoad({ target: server.target, durationMs: LOAD_MS });
  loading.catch(() => {}); // it is awaited below; until then its failure must not end the test
  try {
    for (let reload = 0; reload < RELOADS; reload++) {
      await sleep(PAUSE_BETWEEN_RELOADS_MS);
      await server.reload();
    }
  } finally {
    await loading;
  }
  return await loading;
}

function assertAccounted(report: LoadReport): void {
  for (const mode of [...Object.values(report.modes), report.total]) {
    const { sent, ok, refused, lost, raced, bad, unaccounted } = mode;
    assertEquals(unaccounted, 0);
    assertEquals(ok + refused + lost + raced + bad, sent);
  }
}
