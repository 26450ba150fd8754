/** Unix sockets in `net`: whom a worker reaches by them and as whom, whatever code runs in it. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { isOfCLibrary, readAddress, socketsOf } from "../lib/sandbox/dialling.ts";
import { plainHelper, tellHelper, TELLING_APP } from "./harness/helpers.ts";
import { testWith } from "./harness/needs.ts";
import { tell } from "./harness/obeying_app.ts";
import { REPOSITORY } from "./harness/project.ts";
import { resultOf, Server } from "./harness/server.ts";
import {
  ask,
  DIALLING,
  idsOf,
  openProject,
  type Peer,
  UNIX_SERVER,
  UnixServer,
} from "./harness/unix_server.ts";
import { until } from "./harness/wait.ts";

const DOUBLES = join(REPOSITORY, "tests/doubles");

const NATIVE = {
  ...UNIX_SERVER,
  missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64",
};

const [EPERM, ENOENT, EAGAIN, EACCES, EINVAL] = [1, 2, 11, 13, 22];

/** For code of the app: calls, and struct sockaddr of a Unix socket. */
const PRELUDE = `
  const [SOCKET, CONNECT, BIND, CLOSE, GETSOCKOPT, FCNTL] = [41, 42, 49, 3, 55, 72];
  const [UNIX, STREAM, NONBLOCK] = [1, 1, 2048];
  const address = (path) => Uint8Array.of(1, 0, ...new TextEncoder().encode(path), 0);
  const socket = (type = STREAM) => native.call(SOCKET, UNIX, type, 0);
  const connect = (fd, to, length = to.length) => native.call(CONNECT, fd, to, length);
  const dial = (path, type = STREAM) => {
    const fd = socket(type);
    const result = connect(fd, address(path));
    native.call(CLOSE, fd);
    return result;
  };`;

async function result(server: Server, code: string): Promise<unknown> {
  const outcome = await tell(server, PRELUDE + code);
  assertEquals(outcome.denied, undefined, `${code}: ${outcome.message}`);
  return outcome.ok;
}

Deno.test("the address of a Unix socket is read as the kernel reads it", () => {
  const read = (path: string, family = 1) =>
    readAddress(Uint8Array.of(family, 0, ...new TextEncoder().encode(path)));
  assertEquals(read("/run/a.sock\0rest"), { kind: "unix", path: "/run/a.sock", isFile: true });
  assertEquals(read("/run/a.sock"), { kind: "unix", path: "/run/a.sock", isFile: true });
  assertEquals(read("\0/run/a.sock"), { kind: "unix", path: "@/run/a.sock", isFile: false });
  assertEquals(read(""), { kind: "unix", path: "@", isFile: false });
  assertEquals(socketsOf(["unix:/a", "b.test:1", "unix:/c"]), ["/a", "/c"]);
  assertEquals(isOfCLibrary("/var/run/nscd/socket"), true);
  assertEquals(isOfCLibrary("/run/nscdx"), false);
});

/** An app with a helper that both do what they are told, and dial at `?path=`, or `/node?path=`. */
const APP = `${DIALLING}
${TELLING_APP.replace("export default", "const telling =")}
export default {
  fetch(request) {
    const url = new URL(request.url);
    return url.searchParams.has("path") ? answer(url) : telling.fetch(request);
  },
};`;

/** Code that connects, and returns what it is told first. */
const first = (path: string) => `
  using connection = await Deno.connect({ transport: "unix", path: "${path}" });
  const buffer = new Uint8Array(256);
  return JSON.parse(new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer))));`;

testWith(
  UNIX_SERVER,
  "an app and a helper dial the Unix sockets of their own net, each as its own user",
  async () => {
    await using apps = await UnixServer.start();
    await using helpers = await UnixServer.start();
    const project = await openProject({
      files: { "app.ts": APP, "job.ts": plainHelper() },
      config: {
        net: [`unix:${apps.path}`],
        helpers: { job: { module: "./job.ts", net: [`unix:${helpers.path}`] } },
      },
    });
    await using server = await Server.startOn(project);
    const [worker] = await server.workers();
    // To the kernel it is the process's user in the supervisor's process, and nothing of root's.
    const expected = { pid: server.pid, ...idsOf(worker!) };
    assertEquals(Deno.uid() === 0 && expected.uid === 0, false);
    for (const route of ["/deno", "/node"]) {
      const { ok: { groups, ...is } } = await ask(server, apps.path, route) as { ok: Peer };
      assertEquals(is, expected, route);
      if (Deno.uid() === 0) assertEquals(groups, 0);
      const { denied, message } = await ask(server, helpers.path, route);
      assertEquals(denied, "NotFound");
      assertStringIncludes(message!, `"net": ["unix:${helpers.path}"]`);
    }
    const job = (await tell(server, `return await helper("job").pid()`)).ok as number;
    const { pid, uid, gid } = (await tellHelper(server, first(helpers.path))).ok as Peer;
    assertEquals({ pid, uid, gid }, { pid: server.pid, ...idsOf(job) });
    assertEquals((await tellHelper(server, first(apps.path))).ok, undefined);
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals((await ask(server, apps.path)).ok?.uid, expected.uid);
    assertEquals(server.eventsOf("dial_denied"), []);
  },
);

testWith(NATIVE, "native code dials no Unix socket but those of net", async (t) => {
  await using echo = await UnixServer.start();
  await using other = await UnixServer.start();
  await using full = await UnixServer.start({ holds: true });
  await using server = await Server.start({
    files: { "app.ts": `export { default } from "file://${DOUBLES}/native_app.ts";` },
    config: { onViolation: "log", net: [echo, full].map(({ path }) => `unix:${path}`) },
    entry: [join(DOUBLES, "wide_supervisor.ts")],
  });

  await t.step("one of net is connected as it would be without a wall", async () => {
    const code = `
      const found = [];
      for (const type of [STREAM, STREAM | NONBLOCK]) {
        const fd = socket(type);
        found.push(connect(fd, address("${echo.path}")), native.call(FCNTL, fd, 3, 0) & NONBLOCK);
        const value = new Uint8Array(4), size = () => Uint8Array.of(4, 0, 0, 0);
        // SO_DOMAIN, SO_TYPE; F_GETFD: it is closed on exec.
        for (const name of [39, 3]) {
          native.call(GETSOCKOPT, fd, 1, name, value, size());
          found.push(value[0]);
        }
        found.push(native.call(FCNTL, fd, 1, 0));
        native.call(CLOSE, fd);
      }
      return found;`;
    assertEquals(await result(server, code), [0, 0, 1, 1, 1, 0, 2048, 1, 1, 1]);
    assertEquals(await result(server, `return dial("${echo.path.replace("/tmp", "/./tmp/")}")`), 0);
    await until("the connections", () => echo.peers.length === 3);
    assertEquals(server.eventsOf("dial_denied"), []);
  });

  await t.step("there are no other sockets, and none gets a name", async () => {
    const code = `
      const fd = socket(), to = address("${echo.path}x");
      const inet = native.call(SOCKET, 2, STREAM, 0);
      return [
        socket(2), socket(5), inet, native.call(BIND, fd, to, to.length), native.call(BIND, fd, to, 2),
        native.call(50, fd, 1), connect(fd, Uint8Array.of(2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)),
        connect(fd, new Uint8Array(16)), connect(0, address("${echo.path}")),
      ];`;
    const refused = Array(6).fill(-EPERM);
    const [last, ...others] = (await result(server, code) as number[]).reverse();
    assertEquals(others.reverse(), [...refused, -EINVAL, -EINVAL]);
    assertEquals(last! < 0, true);
  });

  await t.step("another path, a name that is no file, and none are refused, and told", async () => {
    const before = server.eventsOf("dial_denied").length;
    const paths = [other.path, `${echo.path}/../other`, "/proc/self/root/run/a", "/", "\0abstract"];
    for (const path of paths) {
      assertEquals(await result(server, `return dial(${JSON.stringify(path)})`), -EACCES, path);
    }
    assertEquals(await result(server, `return connect(socket(), address(""), 2)`), -EACCES);
    await server.waitFor("dial_denied", before + paths.length + 1);
    const told = server.eventsOf("dial_denied").slice(before);
    assertEquals(told.map(({ address }) => address), [
      `unix:${other.path}`,
      `unix:${echo.path}/../other`,
      ...["unix:/proc/self/root/run/a", "unix:/", "unix:@abstract", "unix:@"],
    ]);
    assertEquals(new Set(told.map(({ reason }) => reason)), new Set(["it is not in net"]));
    // What the C library looks for by itself is not there, and nobody is told.
    assertEquals(await result(server, `return dial("/var/run/nscd/socket")`), -ENOENT);
    assertEquals(await result(server, `return dial("a.sock")`), -EACCES);
    const last = await server.waitFor("dial_denied", before + paths.length + 2);
    assertEquals([last.address, last.reason], [
      "unix:a.sock",
      "it is not the whole path, as in net",
    ]);
  });

  await t.step("a path that another thread changes meanwhile has no effect", async () => {
    const differs = [...echo.path].findIndex((letter, index) => letter !== other.path[index]);
    const code = `
      const shared = address("${echo.path}");
      const paths = ["${echo.path}", "${other.path}"].map((path) => [...new TextEncoder().encode(path)]);
      const at = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(shared)));
      const swapper = new Worker("data:text/javascript," + encodeURIComponent(
        "onmessage = ({ data: [at, paths] }) => { const view = new Uint8Array(Deno.UnsafePointerView" +
          ".getArrayBuffer(Deno.UnsafePointer.create(at), 2 + paths[0].length)); postMessage(0);" +
          "for (let turn = 0;; turn++) view.set(paths[(turn >> 4) % 2], 2); };"), { type: "module" });
      await new Promise((resolve) => { swapper.onmessage = resolve; swapper.postMessage([at, paths]); });
      let connected = 0;
      for (let tries = 0; tries < 200; tries++) {
        const fd = socket(STREAM | NONBLOCK);
        if (connect(fd, shared) === 0) connected++;
        native.call(CLOSE, fd);
      }
      swapper.terminate();
      return [connected > 0, shared.length > 0];`;
    assertEquals(differs > 0, true);
    assertEquals(await result(server, code), [true, true]);
    // Whatever came before it has been accepted.
    using _own = await Deno.connect({ transport: "unix", path: other.path });
    await until("this process's own", () => other.peers.length > 0);
    assertEquals(other.peers.map(({ pid }) => pid), [Deno.pid]);
  });

  await t.step("a server that accepts nobody keeps nobody but its client waiting", async () => {
    const outputs = server.eventsOf("worker_output").length;
    const waiting = result(
      server,
      `
    const fds = [];
    let came = 0;
    while (came === 0 && fds.length < 8) {
      fds.push(socket(STREAM | NONBLOCK));
      came = connect(fds.at(-1), address("${full.path}"));
    }
    console.log("full");
    return [came, dial("${full.path}")];`,
    );
    await server.waitFor("worker_output", outputs + 1);
    assertEquals((await server.status()).state, "serving");
    await full.accept();
    assertEquals(await waiting, [-EAGAIN, 0]);
  });

  await t.step("what takes the place of a socket is not reached by it", async () => {
    const control = join(server.project.runtime, "control.sock");
    const dialled = () => result(server, `return dial("${echo.path}")`);
    let told = server.eventsOf("dial_denied").length;
    const lastReason = async () => `${(await server.waitFor("dial_denied", ++told)).reason}`;
    assertEquals(await dialled(), 0);
    for (const target of [other.path, control]) {
      await Deno.remove(echo.path);
      await Deno.symlink(target, echo.path);
      assertEquals(await dialled(), -EACCES, target);
      assertStringIncludes(await lastReason(), "a link leads there");
    }
    await Deno.remove(echo.path);
    // Another name of the control socket, which the worker's user may use here.
    await Deno.link(control, echo.path);
    assertEquals(await dialled(), -EACCES);
    assertEquals(await lastReason(), "this server itself listens there");
    await Deno.remove(echo.path);
    assertEquals(await dialled(), -ENOENT);
    await Deno.writeTextFile(echo.path, "no socket");
    assertEquals((await dialled() as number) < 0, true);
    await Deno.remove(echo.path);
    // A folder above it that becomes a link is none either.
    const folder = join(echo.path, "..");
    await Deno.rename(folder, `${folder}.moved`);
    await Deno.symlink(join(other.path, ".."), folder);
    assertEquals(await dialled(), -EACCES);
    assertStringIncludes(await lastReason(), "a link leads there");
    await Deno.remove(folder);
    await Deno.rename(`${folder}.moved`, folder);
    // A service that comes back has its socket there anew.
    await using again = await UnixServer.start({ path: echo.path });
    assertEquals(await dialled(), 0);
    await until("the connection", () => again.peers.length === 1);
    assertEquals(other.peers.length, 1);
  });
});

const SETPRIV = { programs: ["setpriv"], root: true } as const;

testWith(
  SETPRIV,
  "where it cannot be seen whom a worker dials, no Unix socket is in net",
  async () => {
    const project = await openProject({ config: { net: ["unix:/run/holdfast-test.sock"] } });
    const prefix = ["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"];
    const [program, ...args] = [
      ...[...prefix, Deno.execPath(), "run", "-A", join(REPOSITORY, "main.ts")],
      ...["check", "--config", project.configFile],
    ];
    const checked = resultOf(await new Deno.Command(program!, { args }).output());
    const expected = "which one it dials cannot be seen";
    assertStringIncludes(checked.stderr, expected);
    await using server = await Server.startOn(project, { prefix, wait: "exit" });
    assertStringIncludes(server.log, expected);
    assertStringIncludes(server.log, "CAP_SYS_PTRACE");
    assertEquals((await server.ended).code, checked.code);
  },
);
