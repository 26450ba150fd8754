/** What a killed supervisor leaves: the next start comes up, and nobody else is killed for it. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import { errno } from "../lib/os/errno.ts";
import { closeAllOnExec } from "../lib/os/descriptor.ts";
import { holdsListener, killProcess, startOf } from "../lib/os/process.ts";
import { Orphans } from "../lib/supervisor/orphans.ts";
import { openProcessRecord } from "../lib/supervisor/process_record.ts";
import { isAlive } from "./harness/process.ts";
import { killQuietly } from "./harness/process_log.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** Answers, but to `/spin`: from then on its event loop stands still. */
const SPINNING_APP = `
export default {
  fetch(request) {
    if (request.url.endsWith("/spin")) {
      console.log("spins");
      for (;;);
    }
    return new Response("ok");
  },
};
`;

// The C library stays loaded: here, so that it is of no test.
startOf(Deno.pid);
holdsListener(Deno.pid);
errno();

function spawnSleep(): Deno.ChildProcess {
  // Another test of this process may have a listener open that goes on over an exec.
  closeAllOnExec();
  return new Deno.Command("sleep", { args: ["1000"], stdin: "null" }).spawn();
}

Deno.test("a worker that hangs when its supervisor is killed does not keep the next one from starting", async () => {
  const first = await Server.start({
    files: { "app.ts": SPINNING_APP },
    config: { log: { folder: "./log" } },
  });
  const [worker] = await first.workers();
  const spinning = first.text("/spin").catch(() => {});
  // With log files, what it prints goes there alone.
  await until(
    "the loop",
    () => Deno.readTextFileSync(first.project.path("log/holdfast.log")).includes("spins"),
  );
  first.signal("SIGKILL");
  await first.exited();
  assert(isAlive(worker!));
  await using second = await Server.startOn(first.project);
  assertEquals(await second.text("/"), "ok");
  await spinning;
  const { pids } = await second.waitFor("orphans_found");
  assert((pids as string[]).includes(String(worker)));
  const killed = await second.waitFor("orphan_killed");
  assertEquals([killed.pid, killed.role], [worker, "worker"]);
  await until("its end", () => !isAlive(worker!));
  assertEquals(second.eventsOf("orphan_killed").length, 1);
});

Deno.test("a number that is another process's by now is left alone, and so is all that is not on record", async () => {
  await using folder = await Folder.make();
  const sleeping = spawnSleep();
  try {
    const { pid } = sleeping;
    const start = startOf(pid)!;
    openProcessRecord(folder.path).write([{ pid, role: "worker" }]);
    assertEquals(openProcessRecord(folder.path).left(), [{ pid, start, role: "worker" }]);
    const record = join(folder.path, "processes.json");
    const text = Deno.readTextFileSync(record);

    // The same number, of a process that started at another time.
    const other = String(Number(start) - 1);
    Deno.writeTextFileSync(record, text.replace(`"${start}"`, `"${other}"`));
    assertEquals(openProcessRecord(folder.path).left(), []);
    assertEquals(killProcess(pid, other), false);

    for (
      const wrong of [
        // Another run of the machine.
        text.replace(/"boot":"[^"]*"/, '"boot":"another"'),
        text.replace(String(pid), "1"),
        text.replace(String(pid), String(-pid)),
        text.slice(0, -1),
        "",
      ]
    ) {
      Deno.writeTextFileSync(record, wrong);
      assertEquals(openProcessRecord(folder.path).left(), [], wrong);
    }
    openProcessRecord(folder.path).close();
    assertEquals(openProcessRecord(folder.path).left(), []);
    assert(isAlive(pid));

    assertEquals(killProcess(pid, start), true);
    assertEquals((await sleeping.status).signal, "SIGKILL");
    assertEquals(killProcess(pid, start), false);
  } finally {
    killQuietly(sleeping.pid);
    await sleeping.status;
  }
});

Deno.test("one that holds no listener is not killed for an address that somebody else has", async () => {
  const sleeping = spawnSleep();
  try {
    const { pid } = sleeping;
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    assert(listener.addr.port > 0);
    assertEquals([holdsListener(Deno.pid), holdsListener(pid)], [true, false]);
    const orphans = new Orphans([{ pid, start: startOf(pid)!, role: "worker" }]);
    const taken = () => {
      throw new HoldfastError("taken", { kind: "environment", code: "bind_failed" });
    };
    const { signal } = new AbortController();
    await assertRejects(
      () => orphans.bind(() => Promise.resolve().then(taken), signal),
      HoldfastError,
      "taken",
    );
    assert(isAlive(pid));
  } finally {
    killQuietly(sleeping.pid);
    await sleeping.status;
  }
});

/** A folder of its own. */
class Folder implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  static async make(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
