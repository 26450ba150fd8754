import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { DEFAULT_OUTPUT_LIMITS } from "../lib/base/output_limits.ts";
import { closeDescriptor, duplicateDescriptor } from "../lib/os/descriptor.ts";
import { readProc } from "../lib/os/file.ts";
import { makePipe, readSome } from "../lib/os/pipe.ts";
import { waitForAny } from "../lib/os/poll.ts";
import { landlockAbi } from "../lib/os/landlock.ts";
import { receiveBytes, sendBytes, socketPair } from "../lib/os/socket.ts";
import type { Arch } from "../lib/sandbox/seccomp.ts";
import { workerWall } from "../lib/sandbox/wall.ts";
import type { SpawnerEvent } from "../lib/supervisor/child_event.ts";
import { type ChildHandle, startSpawner } from "../lib/supervisor/spawner.ts";
import { watch } from "../lib/supervisor/watch.ts";
import { makeConfig } from "./harness/config.ts";
import { isAlive } from "./harness/process.ts";
import { REPOSITORY } from "./harness/project.ts";
import { until } from "./harness/wait.ts";

// Libraries that are loaded when they are first used would look like leaks of a test.
await spawn("/bin/true").event("exited");
workerThreads();

/** A program that was spawned, with what was told of it. */
interface Spawned {
  readonly handle: ChildHandle;
  readonly events: SpawnerEvent[];
  event<Type extends SpawnerEvent["type"]>(
    type: Type,
  ): Promise<Extract<SpawnerEvent, { type: Type }>>;
}

function spawn(program: string, ...args: string[]): Spawned {
  const spawner = startSpawner();
  const events: SpawnerEvent[] = [];
  const handle = spawner.spawn({
    ...{ program, args, env: { PATH: "/usr/bin:/bin" }, cwd: "/", account: undefined },
    ...{
      wall: undefined,
      source: "the program\n",
      image: undefined,
      output: DEFAULT_OUTPUT_LIMITS,
    },
  }, (event) => {
    events.push(event);
    if (event.type === "exited") spawner.close();
  });
  return {
    handle,
    events,
    event: <Type extends SpawnerEvent["type"]>(type: Type) =>
      until(type, () => {
        const found = events.find((event) => event.type === type);
        return found as Extract<SpawnerEvent, { type: Type }> | undefined;
      }),
  };
}

/** Threads of this process that the runtime has for Web Workers. */
function workerThreads(): string[] {
  const tasks = [...Deno.readDirSync("/proc/self/task")].map(({ name }) => name);
  // One may end meanwhile, such as another test file's.
  return tasks.filter((task) => readProc(`self/task/${task}/comm`, 64)?.startsWith("worker-"));
}

Deno.test("a spawner's thread ends when its child is up, and the child's end is told all the same", async () => {
  const before = workerThreads();
  const child = spawn("/bin/sh", "-c", "read line; echo $line; cat <&4");
  const { pid } = await child.event("spawned");
  // It has run its program by then, and waits on the channel.
  assertEquals((await child.event("output")).text, "the program");
  await until("the end of the thread", () => workerThreads().length === before.length);
  assert(isAlive(pid));
  child.handle.signal("SIGKILL");
  const { status, error } = await child.event("exited");
  assertEquals([status, error], [{ code: undefined, signal: "SIGKILL" }, undefined]);
});

Deno.test("how a process ended is told, and what it printed comes before", async () => {
  const exits = spawn("/bin/sh", "-c", "echo one; printf two >&2; exit 7");
  assertEquals((await exits.event("exited")).status, { code: 7, signal: undefined });
  const texts = exits.events.flatMap((event) =>
    event.type === "output" ? [`${event.stream} ${event.text}`] : []
  );
  assertEquals(texts.sort(), ["stderr two", "stdout one"]);
  assertEquals(exits.events.at(-1)!.type, "exited");
  const ended = spawn("/bin/sh", "-c", "kill -TERM $$");
  assertEquals((await ended.event("exited")).status, { code: undefined, signal: "SIGTERM" });
});

Deno.test("a process that was told to end before it was there ends, and one that cannot be says why", async () => {
  const child = spawn("/bin/sh", "-c", "cat <&4");
  child.handle.signal("SIGKILL");
  assertEquals((await child.event("exited")).status.signal, "SIGKILL");
  const none = spawn("/nothing/here");
  const { status, error } = await none.event("exited");
  assertEquals(status, { code: undefined, signal: undefined });
  assertStringIncludes(error!, "Cannot start /nothing/here; may it run that, and enter /?");
  assertEquals(none.events.length, 1);
});

Deno.test("who sends without end keeps nobody else from being heard", async () => {
  const [flooded, flood] = makePipe();
  const [quiet, other] = socketPair();
  sendAll(flood);
  let floods = 0;
  const stopFlooded = watch(flooded, () => {
    floods++;
    const endMs = performance.now() + 5;
    while (performance.now() < endMs);
  });
  await until("the flood", () => floods > 2);
  let heard = "";
  const stopQuiet = watch(quiet, () => {
    const bytes = new Uint8Array(16);
    heard += new TextDecoder().decode(bytes.subarray(0, receiveBytes(quiet, bytes)));
  });
  let turns = 0;
  const turn = setInterval(() => turns++, 1);
  for (const word of ["a", "b", "c"]) {
    const before = floods;
    sendBytes(other, new TextEncoder().encode(word));
    await until(word, () => heard.endsWith(word));
    assert(floods - before < 20, `${floods - before} times the flood before ${word}`);
  }
  const [floodsBefore, turnsBefore] = [floods, turns];
  await until("more of the flood", () => floods >= floodsBefore + 20);
  // This thread is free for as long as the flood has kept it.
  assert(turns - turnsBefore >= 20, `${turns - turnsBefore} turns`);
  clearInterval(turn);
  stopFlooded();
  stopQuiet();
  const bytes = new Uint8Array(1);
  await until("the end of the wait", () => receiveBytes(other, bytes) === 0);
  [flood, other].forEach(closeDescriptor);
});

Deno.test("what is not watched any more is closed once, also where its number is another's by then", async () => {
  // A number that nobody else comes to: other files of tests open the lowest ones in this process.
  const far = 4000;
  const [near, firstOther] = socketPair();
  const first = duplicateDescriptor(near, far);
  closeDescriptor(near);
  const stop = watch(first, () => {});
  stop();
  const bytes = new Uint8Array(1);
  await until("the close", () => receiveBytes(firstOther, bytes) === 0);
  const [secondNear, secondOther] = socketPair();
  const second = duplicateDescriptor(secondNear, far);
  closeDescriptor(secondNear);
  assertEquals(second, first);
  let heard = 0;
  const stopSecond = watch(second, () => heard += readSome(second, bytes));
  stop();
  sendBytes(secondOther, bytes);
  await until("what comes by the second", () => heard === 1);
  stopSecond();
  await until("the close of the second", () => receiveBytes(secondOther, bytes) === 0);
  [firstOther, secondOther].forEach(closeDescriptor);
});

Deno.test("a look that is disturbed is no end: a guard goes on", async () => {
  const [read, write] = makePipe();
  assertEquals(await waitForAny([write], 10), []);
  closeDescriptor(read);
  // The kernel says POLLERR alone, as of a seccomp listener when a signal disturbs it.
  assertEquals(await waitForAny([write], 10), []);
  closeDescriptor(write);
  const [one, other] = socketPair();
  closeDescriptor(other);
  assertEquals((await waitForAny([one], 10)).length, 1);
  closeDescriptor(one);
});

Deno.test("processes whose execs were not answered end with their supervisor, and hold nothing", async () => {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_spawner_" });
  const supervisor = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(REPOSITORY, "tests/doubles/unanswering_supervisor.ts"), folder],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let text = "";
  for await (const words of supervisor.stdout.pipeThrough(new TextDecoderStream())) {
    text += words;
    // What it has forked has its output open as well, so that this loop ends with the last of both.
    if (text === "asked\nasked\n") supervisor.kill("SIGKILL");
  }
  assertEquals([text, (await supervisor.status).signal], ["asked\nasked\n", "SIGKILL"]);
  await Deno.remove(folder, { recursive: true });
});

// Libraries of the wall are loaded by it.
const LOADING = { sanitizeResources: false } as const;

Deno.test(
  "a process whose spawner died before it could name it is killed, and reaped",
  LOADING,
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_spawner_" });
    const forbidden = join(folder, "forbidden");
    await Deno.writeTextFile(forbidden, "");
    const seconds = "86399.5";
    const wall = workerWall(makeConfig({ unveil: [] }), {
      ...{
        arch: Deno.build.arch as Arch,
        abi: landlockAbi(),
        denoProgram: "/bin/sleep",
        forbidden,
      },
      ...{ files: [], code: { reads: [] }, interpretsAlone: false },
    });
    const spawner = startSpawner(`import "file://${REPOSITORY}/tests/doubles/dying_spawner.ts";`);
    const ended = Promise.withResolvers<SpawnerEvent>();
    spawner.spawn({
      ...{ program: "/bin/sleep", args: [seconds], env: {}, cwd: "/", account: undefined },
      ...{ wall, source: "", image: undefined, output: DEFAULT_OUTPUT_LIMITS },
    }, ended.resolve);
    const event = await ended.promise;
    assert(event.type === "exited");
    assertStringIncludes(`${event.error}`, "it died");
    spawner.close();
    await until("the end of the process", () => {
      const names = [...Deno.readDirSync("/proc")].map(({ name }) => name);
      return !names.some((name) => {
        const mine = readProc(`${name}/stat`, 512)?.includes(`) Z ${Deno.pid} `);
        return mine || readProc(`${name}/cmdline`, 512)?.includes(seconds);
      });
    });
    await Deno.remove(folder, { recursive: true });
  },
);

Deno.test("what an upgrade starts has the whole command line, however long it is", async () => {
  const hosts = Array.from({ length: 2_000 }, (_, index) => `host${index}.test`).join(",");
  const grants = [
    "--allow-read",
    "--allow-ffi",
    "--allow-env",
    "--allow-run",
    `--deny-net=${hosts}`,
  ];
  const double = join(REPOSITORY, "tests/doubles/own_program.ts");
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", ...grants, double, "start"],
    cwd: REPOSITORY,
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
  assertEquals(JSON.parse(new TextDecoder().decode(stdout)), [
    ...["run", ...grants, double, "start", "--config", "/srv/app/holdfast.jsonc"],
  ]);
});

/** Fills a pipe. */
function sendAll(fd: number): void {
  Deno.writeFileSync(`/proc/self/fd/${fd}`, new Uint8Array(1024));
}
