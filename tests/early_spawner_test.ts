/** Which process that was started early is given to whom. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { DEFAULT_OUTPUT_LIMITS } from "../lib/base/output_limits.ts";
import type { SpawnerEvent } from "../lib/supervisor/child_event.ts";
import { EarlySpawners } from "../lib/supervisor/early_spawner.ts";
import type { ChildHandle, Spawner } from "../lib/supervisor/spawner.ts";
import type { SpawnRequest } from "../lib/supervisor/spawner_message.ts";

const REQUEST: SpawnRequest = {
  ...{ program: "/bin/true", args: ["run", "-"], env: { A: "1", B: "2" }, cwd: "/" },
  ...{ account: { uid: 7, gid: 7 }, source: "the program", image: () => "", wall: undefined },
  output: DEFAULT_OUTPUT_LIMITS,
};

/** A spawner whose process ends when it is told to. */
class Silent implements Spawner {
  tell: (event: SpawnerEvent) => void = () => {};
  killed = false;
  closed = false;
  readonly child: ChildHandle = {
    ...{ command: () => {}, handOver: () => {}, giveImage: () => {}, lend: () => 0 },
    signal: () => {
      this.killed = true;
      const status = { code: undefined, signal: "SIGKILL" } as const;
      this.tell({ type: "exited", status, error: undefined });
    },
  };

  spawn(_: SpawnRequest, receive: (event: SpawnerEvent) => void): ChildHandle {
    this.tell = receive;
    return this.child;
  }

  close(): void {
    this.closed = true;
  }
}

/** Starts one process early. */
function start(request: SpawnRequest = REQUEST) {
  const [early, silent] = [new EarlySpawners(), new Silent()];
  assertEquals(early.start([{ who: "worker", request, startSpawner: () => silent }]), 1);
  return { early, silent };
}

Deno.test("an early process is given to who asks for the same, whatever its app is, once", async () => {
  const { early, silent } = start();
  silent.tell({ type: "message", message: { type: "hello", version: 1, deno: "2" } });
  const wanted = { ...REQUEST, env: { B: "2", A: "1" }, image: () => "modules" };
  assertEquals(early.take("helper a", wanted), undefined);
  const spawner = early.take("worker", wanted)!;
  assertEquals(early.take("worker", wanted), undefined);
  const heard: string[] = [];
  assertEquals(spawner.spawn(wanted, ({ type }) => heard.push(type)), silent.child);
  assertEquals(heard, [], "nothing before who asks has the handle");
  silent.tell({ type: "denied", call: "execve", path: undefined });
  await early.end();
  assertEquals([heard, silent.killed, silent.closed], [["message", "denied"], false, false]);
  spawner.close();
  assertEquals(silent.closed, true);
});

const OTHERS: Record<string, Partial<SpawnRequest>> = {
  program: { program: "/bin/false" },
  flag: { args: ["run", "--allow-net", "-"] },
  variable: { env: { A: "1", B: "3" } },
  "variable more": { env: { A: "1", B: "2", C: "" } },
  folder: { cwd: "/tmp" },
  "code of Holdfast": { source: "another" },
  account: { account: { uid: 8, gid: 7 } },
  "limit of output": { output: { ...DEFAULT_OUTPUT_LIMITS, lineBytes: 5 } },
};

for (const [what, change] of Object.entries(OTHERS)) {
  Deno.test(`an early process is not given to who asks for another ${what}`, async () => {
    const { early, silent } = start();
    assertEquals(early.take("worker", { ...REQUEST, ...change }), undefined);
    await early.endLeft();
    assertEquals([silent.killed, silent.closed], [true, true]);
  });
}

Deno.test("an early process that has ended, or tried what it may not, is given to nobody", () => {
  const events: SpawnerEvent[] = [
    { type: "exited", status: { code: 0, signal: undefined }, error: undefined },
    { type: "denied", call: "execve", path: undefined },
    { type: "output", stream: "stderr", text: "a warning" },
  ];
  for (const event of events) {
    const { early, silent } = start();
    silent.tell(event);
    assertEquals(early.take("worker", REQUEST), undefined, event.type);
  }
});

Deno.test("an early process is given to nobody when another folder has taken the place of its own", async () => {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_early_" });
  const cwd = join(folder, "app");
  await Deno.mkdir(cwd);
  const { early } = start({ ...REQUEST, cwd });
  await Deno.rename(cwd, join(folder, "old"));
  await Deno.mkdir(cwd);
  assertEquals(early.take("worker", { ...REQUEST, cwd }), undefined);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("an early process that was taken, and never asked for, is ended; and none is started late", async () => {
  const { early, silent } = start();
  early.take("worker", REQUEST)!.close();
  await early.end();
  assertEquals([silent.killed, silent.closed], [true, true]);
  const late = new Silent();
  early.start([{ who: "worker", request: REQUEST, startSpawner: () => late }]);
  assertEquals(early.take("worker", REQUEST), undefined);
});

Deno.test("what cannot be started early is no fault", () => {
  const early = new EarlySpawners();
  const startSpawner = () => {
    throw new Error("too many open files");
  };
  assertEquals(early.start([{ who: "worker", request: REQUEST, startSpawner }]), 0);
  assertEquals(early.take("worker", REQUEST), undefined);
});
