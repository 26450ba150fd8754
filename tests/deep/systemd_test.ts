import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { HoldfastError } from "../../lib/base/error.ts";
import { parseListen } from "../../lib/config/address.ts";
import { Refusal } from "../../lib/config/problem.ts";
import { takeServiceEnvironment } from "../../lib/supervisor/service_environment.ts";
import { ServiceManager, statusLine, storedName } from "../../lib/supervisor/service_manager.ts";
import { countDescriptors, processesIn } from "../harness/process.ts";
import { PLAIN_APP } from "../harness/project.ts";
import { testWith } from "../harness/needs.ts";
import { ServiceManagerDouble } from "../harness/service_manager.ts";
import { sleep, until } from "../harness/wait.ts";
import { freePort } from "../harness/ports.ts";

/** What plays the manager. */
const PYTHON = { programs: ["python3"] } as const;

const HUP = 1;
const KILL = 9;
const USR2 = 12;
const TERM = 15;
const CONT = 18;
const STOP = 19;

function version(text: string): string {
  return PLAIN_APP.replace('"one"', JSON.stringify(text));
}

function environmentOf(values: Record<string, string>) {
  const left = new Map(Object.entries(values));
  return {
    left,
    get: (name: string) => left.get(name),
    delete: (name: string) => left.delete(name),
  };
}

// ---- what the environment says ----

Deno.test("what a service manager says is read once and taken out of the environment", () => {
  const environment = environmentOf({
    NOTIFY_SOCKET: "/run/notify",
    WATCHDOG_USEC: "3000000",
    WATCHDOG_PID: "7",
    LISTEN_FDS: "2",
    LISTEN_PID: "7",
    LISTEN_FDNAMES: "http:admin",
    HOME: "/root",
  });
  assertEquals(takeServiceEnvironment(environment as unknown as Deno.Env, 7), {
    socket: "/run/notify",
    watchdogMs: 3000,
    passed: [{ fd: 3, name: "http" }, { fd: 4, name: "admin" }],
  });
  assertEquals([...environment.left.keys()], ["HOME"]);
});

Deno.test("descriptors and watchdogs of another process are not ours", () => {
  const environment = environmentOf({
    WATCHDOG_USEC: "3000000",
    WATCHDOG_PID: "6",
    LISTEN_FDS: "2",
    LISTEN_PID: "6",
  });
  assertEquals(takeServiceEnvironment(environment as unknown as Deno.Env, 7), {
    socket: undefined,
    watchdogMs: undefined,
    passed: [],
  });
});

for (
  const values of [
    { NOTIFY_SOCKET: "vsock:2:1" },
    { NOTIFY_SOCKET: `/${"x".repeat(107)}` },
    { WATCHDOG_USEC: "-1" },
    { LISTEN_FDS: "many", LISTEN_PID: "7" },
    { LISTEN_FDS: "2000", LISTEN_PID: "7" },
    { LISTEN_FDS: "2", LISTEN_PID: "7", LISTEN_FDNAMES: "one" },
  ]
) {
  Deno.test(`${JSON.stringify(values).slice(0, 60)} is refused`, () => {
    const environment = environmentOf(values as Record<string, string>);
    const error = assertThrows(
      () => takeServiceEnvironment(environment as unknown as Deno.Env, 7),
      HoldfastError,
    );
    assertEquals((error as HoldfastError).code, "service_environment");
    assertEquals([...environment.left.keys()], []);
  });
}

// ---- names and lines ----

Deno.test("the name of a listener in the store is what FDNAME allows, and one for one", () => {
  const addresses = ["127.0.0.1:80", "[::1]:80", "unix:/run/a:b.sock", `unix:/${"ä".repeat(50)}`];
  const names = addresses.map(storedName);
  for (const name of names) assertMatch(name, /^holdfast-[!-9;-~]{1,246}$/);
  assertEquals(new Set(names).size, addresses.length);
});

Deno.test("the status is one line", () => {
  const sent: string[] = [];
  const manager = new ServiceManager(
    { socket: "/x", passed: [] },
    (_, text) => sent.push(text),
  );
  const listeners = ["127.0.0.1:80"];
  const lastReload = { outcome: "refused", at: "now", reason: "no\nREADY=1" } as const;
  manager.setStatus({ generation: 3, listeners, failing: true, lastReload });
  manager.setStatus({ generation: 3, listeners, failing: true, lastReload });
  manager.close();
  assertEquals(sent, [
    "STATUS=Generation 3 is failing, its worker is being replaced, on 127.0.0.1:80; " +
    "last reload refused at now: no READY=1",
  ]);
  assertEquals(
    statusLine({ generation: 1, listeners, failing: false }),
    "Generation 1 serves on 127.0.0.1:80",
  );
});

Deno.test("listen takes systemd and systemd:NAME, and no name of our own store", () => {
  assertEquals(parseListen("systemd"), { kind: "systemd", text: "systemd", name: undefined });
  assertEquals(parseListen("systemd:http"), {
    kind: "systemd",
    text: "systemd:http",
    name: "http",
  });
  for (const text of ["systemd:", "systemd:a:b", "systemd:holdfast-x", "systemd:a b"]) {
    const refusal = parseListen(text);
    assert(refusal instanceof Refusal, text);
    assertEquals(refusal.code, "listen_systemd_name");
  }
});

// ---- a real supervisor under a manager that takes real datagrams ----

testWith(
  PYTHON,
  "a service manager hears of the start, of each reload done or refused, and of the end",
  async () => {
    await using manager = await ServiceManagerDouble.create();
    const { project } = manager;
    const pid = await manager.start();
    const [before, ready] = [manager.messages(), manager.messages().find((each) => each.READY)!];
    assert(before.some((each) => Number(each.EXTEND_TIMEOUT_USEC) > 10_000_000));
    assertEquals(ready.MAINPID, String(pid));
    assertEquals(ready.STATUS, `Generation 1 serves on 127.0.0.1:${project.port}`);
    assertEquals(await manager.get(), "one /");

    for (
      const [app, status] of [
        [version("two"), /^Generation 2 serves on .*; last reload done at 20/],
        [
          "throw new Error('no good');",
          /^Generation 2 serves on .*; last reload refused at .*good/,
        ],
      ] as const
    ) {
      await project.write("app.ts", app);
      const from = manager.sights.length;
      const { at } = await manager.signal(HUP);
      await manager.until("READY=1 again", ({ message }) => message?.READY === "1", from);
      const messages = manager.messages(from).filter((each) => each.RELOADING ?? each.READY);
      assertEquals(messages.map((each) => each.RELOADING ? "reloading" : "ready"), [
        "reloading",
        "ready",
      ]);
      assert(Number(messages[0]!.MONOTONIC_USEC) >= at - 1_000, `${at}`);
      assertMatch(messages[1]!.STATUS!, status);
    }
    assertEquals(await manager.get(), "two /");

    const from = manager.sights.length;
    await manager.end(TERM);
    const last = manager.messages(from);
    assertEquals(last[0]!.STOPPING, "1");
    assert(Number(last[1]!.EXTEND_TIMEOUT_USEC) > 30_000_000);
    assertEquals(new Set(manager.sights.flatMap(({ sender }) => sender ?? [])), new Set([pid]));
  },
);

testWith(PYTHON, "nothing of the manager's is in a worker's environment or hands", async () => {
  await using manager = await ServiceManagerDouble.create();
  await manager.listen("http", { port: freePort() });
  await manager.project.configure({ listen: ["systemd:http"] });
  await manager.start({ WATCHDOG_USEC: "60000000" });
  const [worker, ...others] = processesIn(manager.project.folder);
  assertEquals(others, []);
  const environment = Deno.readTextFileSync(`/proc/${worker}/environ`);
  assertStringIncludes(environment, "DENO_DIR=");
  assertEquals(/NOTIFY_SOCKET|WATCHDOG_|LISTEN_/.exec(environment), null);
});

testWith(PYTHON, "a notify socket in the abstract namespace is heard as well", async () => {
  await using manager = await ServiceManagerDouble.create({ abstract: true });
  await manager.start();
  assertEquals(await manager.get(), "one /");
});

testWith(PYTHON, "a manager that is not there is missed once, and nothing stops", async () => {
  await using manager = await ServiceManagerDouble.create();
  const pid = await manager.launch({ NOTIFY_SOCKET: manager.project.path("nobody.sock") });
  await until("serving", () => manager.eventsOf("serving").length === 1);
  Deno.kill(pid, "SIGHUP");
  await until("reload_done", () => manager.eventsOf("reload_done").length === 1);
  assertEquals(await manager.get(), "one /");
  assertEquals(manager.eventsOf("notify_failed").length, 1);
});

testWith(PYTHON, "the watchdog hears a supervisor that lives, and none that hangs", async () => {
  await using manager = await ServiceManagerDouble.create();
  const beats = () => manager.messages().filter((each) => each.WATCHDOG === "1").length;
  await manager.start({ WATCHDOG_USEC: "400000" });
  await until("three signs of life", () => beats() >= 3);
  await manager.signal(STOP);
  await sleep(100); // what it sent before is read by then
  const before = beats();
  await sleep(1_000);
  assertEquals(beats(), before);
  await manager.signal(CONT);
  await until("more signs of life", () => beats() >= before + 3);
});

// ---- the store ----

testWith(
  PYTHON,
  "listeners are stored as they are bound, and removed as a reload closes them",
  async () => {
    await using manager = await ServiceManagerDouble.create();
    const { port } = manager.project;
    const [one, two] = [`127.0.0.1:${port}`, `unix:${manager.project.path("app.sock")}`];
    await manager.start();
    assertEquals(manager.stored, [storedName(one)]);
    const [stored] = manager.sights.filter(({ message }) => message?.FDSTORE);
    assertEquals([stored!.sent, stored!.message!.FDPOLL], [1, "0"]);
    for (
      const [listen, names] of [
        [[one, "unix:app.sock"], [one, two]],
        [["unix:app.sock"], [two]],
        [[one], [one]],
      ] as const
    ) {
      const from = manager.sights.length;
      await manager.project.configure({ listen });
      await manager.signal(HUP);
      await manager.until("READY=1 again", ({ message }) => message?.READY === "1", from);
      assertEquals(manager.stored, names.map(storedName));
    }
  },
);

/** Asks again and again, each time on a new connection, until told to stop; gives what went wrong. */
function load(port: number, signal: AbortSignal, answers: string[]): Promise<string[]> {
  const faults: string[] = [];
  const client = async () => {
    while (!signal.aborted) {
      try {
        using connection = await Deno.connect({ hostname: "127.0.0.1", port });
        const request = "GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        await connection.write(new TextEncoder().encode(request));
        const text = await new Response(connection.readable).text();
        const answer = /(one|two) \/x/.exec(text)?.[1];
        if (answer === undefined) faults.push(`answer ${JSON.stringify(text)}`);
        else answers.push(answer);
      } catch (error) {
        faults.push(`${error}`);
      }
    }
  };
  return Promise.all(Array.from({ length: 4 }, client)).then(() => faults);
}

testWith(
  PYTHON,
  "a supervisor killed under load and started anew refuses and loses no connection",
  async () => {
    await using manager = await ServiceManagerDouble.create();
    const { project } = manager;
    await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:app.sock"] });
    const socket = project.path("app.sock");
    await manager.start();
    const inode = Deno.lstatSync(socket).ino;
    const stored = manager.stored;
    const enough = new AbortController();
    const answers: string[] = [];
    const faults = load(project.port, enough.signal, answers);
    await until("answers", () => answers.length > 50);
    for (let round = 1; round <= 2; round++) {
      await project.write("app.ts", version(round === 1 ? "two" : "one"));
      const wanted = round === 1 ? "two" : "one";
      await manager.end(KILL);
      const from = manager.sights.length;
      await manager.start();
      // What came back is in the store already, and not given again.
      assertEquals(manager.messages(from).filter((each) => each.FDSTORE ?? each.FDSTOREREMOVE), []);
      assertEquals(manager.stored, stored);
      const before = answers.length;
      await until(
        "new answers",
        () => answers.slice(before).filter((each) => each === wanted).length > 50,
      );
    }
    enough.abort();
    assertEquals(await faults, []);
    await until("three starts in the log", () => manager.eventsOf("serving").length === 3);
    assertEquals(manager.eventsOf("bind_failed"), []);
    assertEquals(Deno.lstatSync(socket).ino, inode);
    const client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
    const response = await fetch("http://localhost/u", { client });
    assertEquals(await response.text(), "one /u");
    client.close();
  },
);

testWith(PYTHON, "what comes back and is not listened on any more is let go", async () => {
  await using manager = await ServiceManagerDouble.create();
  await manager.start();
  await manager.end(KILL);
  const port = freePort();
  await manager.project.configure({ listen: [`127.0.0.1:${port}`] });
  await manager.start();
  assertEquals(manager.stored, [storedName(`127.0.0.1:${port}`)]);
  await until("the old one to be closed", async () => {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port: manager.project.port })).close();
      return false;
    } catch (error) {
      return error instanceof Deno.errors.ConnectionRefused;
    }
  });
});

testWith(PYTHON, "a stored Unix socket whose file is gone is bound anew", async () => {
  await using manager = await ServiceManagerDouble.create({
    config: { listen: ["unix:app.sock"] },
  });
  await manager.start();
  await manager.end(KILL);
  await Deno.remove(manager.project.path("app.sock"));
  await manager.start();
  assertEquals(manager.eventsOf("listener_not_adopted").length, 1);
  assertEquals(Deno.lstatSync(manager.project.path("app.sock")).isSocket, true);
  assertEquals(manager.stored.length, 1);
});

// ---- socket activation ----

testWith(
  PYTHON,
  "sockets that are passed are served by name, over reloads, and are not stored",
  async () => {
    await using manager = await ServiceManagerDouble.create();
    const { project } = manager;
    const path = project.path("passed.sock");
    await manager.listen("http", { port: project.port });
    await manager.listen("local", { path });
    await project.configure({ listen: ["systemd:http"] });
    const pid = await manager.start();
    assertEquals(await manager.get(), "one /");
    const both = [`127.0.0.1:${project.port}`, `unix:${path}`];
    for (
      const [listen, texts] of [
        [["systemd:http", "systemd"], both],
        [["systemd:local"], [both[1]]],
        [["systemd:http"], [both[0]]],
        [["systemd"], both],
      ] as const
    ) {
      const from = manager.sights.length;
      await project.configure({ listen });
      await manager.signal(HUP);
      const { message } = await manager.until("READY=1", ({ message }) => message?.READY, from);
      const [, listeners] = /serves on ([^;]*);/.exec(message!.STATUS!)!;
      assertEquals(listeners!.split(", ").sort(), [...texts].sort() as string[]);
    }
    assertEquals(await manager.get(), "one /");
    assertEquals(manager.stored, []);
    assert(countDescriptors(pid) < 100);
    await manager.end(TERM);
    // They are the manager's: the file stays, and a connection waits for the next start.
    assertEquals(Deno.lstatSync(path).isSocket, true);
    const answer = manager.get();
    await manager.start();
    assertEquals(await answer, "one /");
  },
);

testWith(PYTHON, "a start without the socket that its config names says so", async () => {
  await using manager = await ServiceManagerDouble.create({ config: { listen: ["systemd:http"] } });
  await manager.launch();
  await manager.until("the end", ({ ended }) => ended !== undefined);
  assertStringIncludes(manager.log, "Cannot listen on systemd:http");
});

testWith(
  PYTHON,
  "an upgrade keeps the manager's view: the process, the watchdog, what is passed and stored",
  async () => {
    await using manager = await ServiceManagerDouble.create();
    const { project } = manager;
    const path = project.path("passed.sock");
    await manager.listen("local", { path });
    await project.configure({ listen: [`127.0.0.1:${project.port}`, "systemd:local"] });
    const pid = await manager.start({ WATCHDOG_USEC: "2000000" });
    const stored = manager.stored;
    assertEquals(stored.length, 1);
    await project.write("app.ts", version("two"));
    const from = manager.sights.length;
    await manager.signal(USR2);
    const { message, sender } = await manager.until(
      "READY=1 of the next one",
      ({ message }) => message?.READY,
      from,
    );
    assertEquals([sender, message!.MAINPID], [pid, String(pid)]);
    assertMatch(message!.STATUS!, /^Generation 2 serves on .*passed\.sock/);
    assertEquals(await manager.get(), "two /");
    const beats = () => manager.messages(from).filter((each) => each.WATCHDOG === "1").length;
    const before = beats();
    await until("signs of life", () => beats() >= before + 2);
    assertEquals(manager.stored, stored);
    // What is the manager's is not removed by the one that was upgraded either.
    await manager.end(TERM);
    assertEquals(Deno.lstatSync(path).isSocket, true);
  },
);
