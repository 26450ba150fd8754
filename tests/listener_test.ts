import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import net from "node:net";
import { PLAIN_APP, Project } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";
import { freePort } from "./harness/ports.ts";

function version(text: string): string {
  return PLAIN_APP.replace('"one"', JSON.stringify(text));
}

/** Asks once over whatever leads to a server, and gives the body. */
async function ask(to: Deno.ConnectOptions | Deno.UnixConnectOptions): Promise<string> {
  using connection = "path" in to ? await Deno.connect(to) : await Deno.connect(to);
  const request = "GET /x HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
  await connection.write(new TextEncoder().encode(request));
  const text = await new Response(connection.readable).text();
  return /one \/x|two \/x/.exec(text)?.[0] ?? text;
}

function askPort(port: number, hostname = "127.0.0.1"): Promise<string> {
  return ask({ hostname, port });
}

function askSocket(path: string): Promise<string> {
  return ask({ transport: "unix", path });
}

async function refuses(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch (error) {
    return error instanceof Deno.errors.ConnectionRefused;
  }
}

/** The inode of the socket that listens on a port: its identity, whoever holds it. */
function listeningInode(port: number): string | undefined {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of Deno.readTextFileSync(table).split("\n")) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (local?.endsWith(`:${hex}`) && state === "0A") return inode;
    }
  }
  return undefined;
}

function modeOf(path: string): number {
  return Deno.lstatSync(path).mode! & 0o777;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A program of its own that listens on a Unix socket, for when it must be another process. */
async function listenElsewhere(path: string): Promise<Deno.ChildProcess> {
  const source = `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} });`;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["eval", `${source} setInterval(() => {}, 1000);`],
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  await until("the other program's socket", () => exists(path));
  return process;
}

async function kill(process: Deno.ChildProcess): Promise<void> {
  process.kill("SIGKILL");
  await process.status;
}

Deno.test("two TCP ports, IPv6 and a Unix socket are served by one worker at once", async () => {
  const project = await Project.create();
  const [second, six] = [freePort(), freePort()];
  const socket = project.path("app.sock");
  await project.configure({
    listen: [
      `127.0.0.1:${project.port}`,
      `localhost:${second}`,
      `[::1]:${six}`,
      "unix:./app.sock",
    ],
  });
  await using server = await Server.startOn(project);
  const askAll = () =>
    Promise.all([
      askPort(project.port),
      askPort(second),
      askPort(six, "::1"),
      askSocket(socket),
    ]);
  assertEquals(await askAll(), Array(4).fill("one /x"));
  assertEquals((await server.status()).listeners, [
    `127.0.0.1:${project.port}`,
    `localhost:${second}`,
    `[::1]:${six}`,
    `unix:${socket}`,
  ]);
  assertEquals((await server.workers()).length, 1);
  await project.write("app.ts", version("two"));
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await askAll(), Array(4).fill("two /x"));
  assertEquals((await server.stop()).code, 0);
  assertEquals(exists(socket), false);
});

Deno.test("a reload adds a port, removes another, and the third is the same socket without a gap", async () => {
  const project = await Project.create();
  const [kept, removed, added] = [project.port, freePort(), freePort()];
  await project.configure({ listen: [`127.0.0.1:${kept}`, `127.0.0.1:${removed}`] });
  await using server = await Server.startOn(project);
  const before = listeningInode(kept);
  assert(before !== undefined && listeningInode(removed) !== undefined);
  assertEquals(await refuses(added), true);

  const failures: unknown[] = [];
  let asked = 0;
  let reloading = true;
  const asking = (async () => {
    while (reloading) {
      asked++;
      await askPort(kept).then((text) => assertMatch(text, /^(one|two) \/x$/))
        .catch((error) => failures.push(error));
    }
  })();
  await project.write("app.ts", version("two"));
  await project.configure({ listen: [`127.0.0.1:${added}`, `127.0.0.1:${kept}`] });
  assertEquals((await server.hangUp()).event, "reload_done");
  await until("the old generation to end", () => server.eventsOf("generation_ended").length === 1);
  reloading = false;
  await asking;
  assertEquals([failures, asked > 10], [[], true]);
  assertEquals(listeningInode(kept), before);
  assertEquals([await askPort(kept), await askPort(added)], ["two /x", "two /x"]);
  assertEquals([await refuses(removed), listeningInode(removed)], [true, undefined]);
  assertEquals((await server.waitFor("listener_closed")).listen, `127.0.0.1:${removed}`);

  // And back: what was closed can be bound again.
  await project.configure({ listen: [`127.0.0.1:${removed}`, `127.0.0.1:${kept}`] });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await askPort(removed), "two /x");
  assertEquals(listeningInode(kept), before);
});

Deno.test("a connection that waits on a port which a reload removes is still answered", async () => {
  const project = await Project.create({
    files: {
      "app.ts": `export default { async fetch() {
        await new Promise((resolve) => setTimeout(resolve, 1000));
        return new Response("one /x");
      } };`,
    },
  });
  const removed = freePort();
  await project.configure({ listen: [`127.0.0.1:${project.port}`, `127.0.0.1:${removed}`] });
  await using server = await Server.startOn(project);
  const slow = askPort(removed);
  await until("the request in flight", async () => {
    return (await server.status()).generations[0]!.workers[0]!.process!.inFlight === 1;
  });
  await project.configure({ listen: [`127.0.0.1:${project.port}`] });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await slow, "one /x");
});

Deno.test("a new listener that cannot be bound refuses the reload, and the old goes on", async () => {
  const project = await Project.create();
  await using server = await Server.startOn(project);
  const before = listeningInode(project.port);
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const fine = freePort();
  await project.write("app.ts", version("two"));
  await project.configure({
    listen: [
      `127.0.0.1:${project.port}`,
      `127.0.0.1:${fine}`,
      "unix:./app.sock",
      `127.0.0.1:${taken.addr.port}`,
    ],
  });
  const refused = await server.hangUp();
  assertEquals(refused.event, "reload_refused");
  assertStringIncludes(String(refused.reason), `Cannot listen on 127.0.0.1:${taken.addr.port}: `);
  assertStringIncludes(String(refused.hint), "ss -ltnp");
  // What was bound before the one that failed is closed again.
  assertEquals([await refuses(fine), exists(project.path("app.sock"))], [true, false]);
  assertEquals(await server.text("/"), "one /");
  assertEquals(listeningInode(project.port), before);
  assertEquals((await server.status()).listeners, [`127.0.0.1:${project.port}`]);
});

const NOT_OURS: Record<string, string> = {
  "an address of another machine": "192.0.2.1:8000",
  "an IPv6 address of another machine": "[2001:db8::1]:8000",
  "a Unix socket in a folder that is not there": "unix:./missing/app.sock",
};

for (const [what, listen] of Object.entries(NOT_OURS)) {
  Deno.test(`${what} cannot be listened on: exit 71 with the address`, async () => {
    await using server = await Server.start({ config: { listen: [listen] }, wait: "exit" });
    assertEquals((await server.exited()).code, 71, server.log);
    assertStringIncludes(server.log, "Cannot listen on ");
    assertStringIncludes(server.log, listen.replace("unix:.", ""));
    assertStringIncludes(server.log, "hint: ");
  });
}

Deno.test("a candidate that fails leaves the new listeners closed", async () => {
  const project = await Project.create();
  await using server = await Server.startOn(project);
  const added = freePort();
  const socket = project.path("app.sock");
  const listen = [`127.0.0.1:${project.port}`];
  await project.configure({ listen: [...listen, `127.0.0.1:${added}`, "unix:./app.sock"] });
  await project.write("app.ts", "throw new Error('no good');");
  assertEquals((await server.hangUp()).event, "reload_refused");
  assertEquals([await refuses(added), exists(socket)], [true, false]);
  assertEquals(listeningInode(added), undefined);
  assertEquals(await server.text("/"), "one /");
  // Control: with good code the same listeners come up.
  await project.write("app.ts", version("two"));
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals([await askPort(added), await askSocket(socket)], ["two /x", "two /x"]);
});

Deno.test("a reload that is refused leaves a listener open that it would have removed", async () => {
  const project = await Project.create();
  const second = freePort();
  await project.configure({ listen: [`127.0.0.1:${project.port}`, `127.0.0.1:${second}`] });
  await using server = await Server.startOn(project);
  await project.configure({ listen: [`127.0.0.1:${project.port}`] });
  await project.write("app.ts", "throw new Error('no good');");
  assertEquals((await server.hangUp()).event, "reload_refused");
  assertEquals(await askPort(second), "one /x");
});

Deno.test("a Unix socket has mode 0600 unless the config says more, and a reload changes it", async () => {
  const project = await Project.create();
  const socket = project.path("app.sock");
  const tcp = `127.0.0.1:${project.port}`;
  await project.configure({ listen: [tcp, "unix:./app.sock"] });
  await using server = await Server.startOn(project);
  const { ino } = Deno.lstatSync(socket);
  assertEquals(modeOf(socket), 0o600);
  for (const mode of ["0660", "0666", "600"]) {
    await project.configure({ listen: [tcp, { unix: "./app.sock", mode }] });
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(modeOf(socket), Number.parseInt(mode, 8));
  }
  // A refused reload changes nothing.
  await project.configure({ listen: [tcp, { unix: "./app.sock", mode: "0666" }] });
  await project.write("app.ts", "throw new Error('no good');");
  assertEquals((await server.hangUp()).event, "reload_refused");
  assertEquals(modeOf(socket), 0o600);
  assertEquals(Deno.lstatSync(socket).ino, ino);
  assertEquals(await askSocket(socket), "one /x");
});

Deno.test("a Unix socket has its mode before anybody can connect to it", async () => {
  const slowly = "export const open = () => new Promise((resolve) => setTimeout(resolve, 1500));";
  await using server = await Server.start({
    files: { "app.ts": PLAIN_APP + slowly },
    config: { listen: ["unix:./app.sock"] },
    wait: "nothing",
  });
  const socket = server.project.path("app.sock");
  await until("the socket", () => exists(socket));
  await sleep(200);
  assertEquals(modeOf(socket), 0o600);
  assertEquals(server.eventsOf("serving"), []);
  await server.waitFor("serving");
});

Deno.test("a socket file that a dead program left is replaced", async () => {
  const project = await Project.create({ config: { listen: ["unix:./app.sock"] } });
  const socket = project.path("app.sock");
  await kill(await listenElsewhere(socket));
  assert(exists(socket));
  await using server = await Server.startOn(project);
  assertEquals(await askSocket(socket), "one /x");
  assertEquals((await server.stop()).code, 0);
});

Deno.test("a socket that another program serves is exit 71, and stays that program's", async () => {
  const project = await Project.create({ config: { listen: ["unix:./app.sock"] } });
  const socket = project.path("app.sock");
  const other = await listenElsewhere(socket);
  try {
    const { ino } = Deno.lstatSync(socket);
    await using server = await Server.startOn(project, { wait: "exit" });
    assertEquals((await server.exited()).code, 71);
    assertStringIncludes(server.log, `Cannot listen on unix:${socket}: another process listens`);
    assertEquals(Deno.lstatSync(socket).ino, ino);
    (await Deno.connect({ transport: "unix", path: socket })).close();
  } finally {
    await kill(other);
  }
});

Deno.test("a file that is no socket is exit 71, and is not touched", async () => {
  const project = await Project.create({ files: { "app.sock": "precious" } });
  await Deno.symlink(project.path("app.sock"), project.path("link.sock"));
  await Deno.mkdir(project.path("folder.sock"));
  for (const name of ["app.sock", "link.sock", "folder.sock"]) {
    await project.configure({ listen: [`unix:./${name}`] });
    const { code, stderr } = await runCommand(project, "start");
    assertEquals(code, 71, stderr);
    assertStringIncludes(stderr, `${name}: a file that is no socket is there`);
  }
  assertEquals(await Deno.readTextFile(project.path("link.sock")), "precious");
  assert(Deno.lstatSync(project.path("folder.sock")).isDirectory);
  await project[Symbol.asyncDispose]();
});

Deno.test("the socket file is removed at stop, but not when another has taken its place", async () => {
  const names = ["ours", "moved_over", "made_anew"];
  const project = await Project.create({
    config: { listen: names.map((name) => `unix:./${name}.sock`) },
  });
  await using server = await Server.startOn(project);
  const [ours, movedOver, madeAnew] = names.map((name) => project.path(`${name}.sock`));
  const others = [net.createServer(), net.createServer()];
  others[0]!.listen(project.path("other.sock"));
  await until("the other socket", () => exists(project.path("other.sock")));
  await Deno.rename(project.path("other.sock"), movedOver!);
  // The file system may give the inode of the one to the other.
  await Deno.remove(madeAnew!);
  others[1]!.listen(madeAnew);
  await until("the other socket", () => exists(madeAnew!));
  assertEquals((await server.stop()).code, 0);
  const found = [ours, movedOver, madeAnew].map((path) => exists(path!));
  for (const other of others) await new Promise((resolve) => other.close(resolve));
  assertEquals(found, [false, true, true]);
});

Deno.test("a listener that a reload removes takes its socket file with it", async () => {
  const project = await Project.create();
  const tcp = `127.0.0.1:${project.port}`;
  await project.configure({ listen: [tcp, "unix:./app.sock"] });
  await using server = await Server.startOn(project);
  assertEquals(await askSocket(project.path("app.sock")), "one /x");
  await project.configure({ listen: [tcp] });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(exists(project.path("app.sock")), false);
});

Deno.test("a socket file that somebody removed does not make the reload of its mode fail", async () => {
  const project = await Project.create();
  const tcp = `127.0.0.1:${project.port}`;
  await project.configure({ listen: [tcp, "unix:./app.sock"] });
  await using server = await Server.startOn(project);
  await Deno.remove(project.path("app.sock"));
  await project.configure({ listen: [tcp, { unix: "./app.sock", mode: "0666" }] });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals((await server.waitFor("effect_failed")).level, "error");
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a mode is not given to a socket that another program has put in the place", async () => {
  const project = await Project.create();
  const tcp = `127.0.0.1:${project.port}`;
  await project.configure({ listen: [tcp, "unix:./app.sock"] });
  await using server = await Server.startOn(project);
  const socket = project.path("app.sock");
  await project.write("victim", "precious");
  await Deno.chmod(project.path("victim"), 0o600);
  await Deno.remove(socket);
  await Deno.symlink(project.path("victim"), socket);
  await project.configure({ listen: [tcp, { unix: "./app.sock", mode: "0666" }] });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(modeOf(project.path("victim")), 0o600);
});
