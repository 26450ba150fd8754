import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import net from "node:net";
import { processesIn } from "../harness/process.ts";
import { PLAIN_APP, Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until, untilTold } from "../harness/wait.ts";
import { freePort } from "../harness/ports.ts";

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

/** Reloads with these listeners, and fails unless that is done. */
async function relisten(server: Server, listen: readonly unknown[]): Promise<void> {
  await server.project.configure({ listen });
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
}

/** Reloads with these listeners, and gives the reason why that was refused. */
async function refusal(server: Server, listen: readonly unknown[]) {
  await server.project.configure({ listen });
  const { outcome, reason = "", hint = "" } = await server.reload();
  assertEquals(outcome, "refused");
  return { reason, hint };
}

/** What one server's listeners go through in turn. The first port is served by all of it. */
const TURNS: Record<string, (server: Server) => Promise<void>> = {
  async "two TCP ports, IPv6 and a Unix socket are served by one worker at once"(server) {
    const { project } = server;
    const [second, six] = [freePort(), freePort()];
    const socket = project.path("app.sock");
    const listen = [
      `127.0.0.1:${project.port}`,
      `localhost:${second}`,
      `[::1]:${six}`,
      "unix:./app.sock",
    ];
    await relisten(server, listen);
    const askAll = () =>
      Promise.all([
        askPort(project.port),
        askPort(second),
        askPort(six, "::1"),
        askSocket(socket),
      ]);
    assertEquals(await askAll(), Array(4).fill("one /x"));
    assertEquals((await server.status()).listeners, [...listen.slice(0, 3), `unix:${socket}`]);
    assertEquals((await server.status()).generations.at(-1)!.workers.length, 1);
    await project.write("app.ts", version("two"));
    await relisten(server, listen);
    assertEquals(await askAll(), Array(4).fill("two /x"));
  },

  async "a listener that a reload removes takes its socket file with it"(server) {
    const { project } = server;
    assertEquals(await askSocket(project.path("app.sock")), "two /x");
    await relisten(server, [`127.0.0.1:${project.port}`]);
    assertEquals(exists(project.path("app.sock")), false);
  },

  async "a reload adds a port, removes another, and the third is the same socket without a gap"(
    server,
  ) {
    const { project } = server;
    const [kept, removed, added] = [project.port, freePort(), freePort()];
    await project.write("app.ts", version("one"));
    await relisten(server, [`127.0.0.1:${kept}`, `127.0.0.1:${removed}`]);
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
    await relisten(server, [`127.0.0.1:${added}`, `127.0.0.1:${kept}`]);
    await untilTold("the old generation to end", async () => {
      return (await server.status()).generations.length === 1;
    });
    reloading = false;
    await asking;
    assertEquals([failures, asked > 10], [[], true]);
    assertEquals(listeningInode(kept), before);
    assertEquals([await askPort(kept), await askPort(added)], ["two /x", "two /x"]);
    assertEquals([await refuses(removed), listeningInode(removed)], [true, undefined]);
    await until("its end in the log", () => {
      return server.eventsOf("listener_closed").some(({ listen }) =>
        listen === `127.0.0.1:${removed}`
      );
    });

    // And back: what was closed can be bound again.
    await relisten(server, [`127.0.0.1:${removed}`, `127.0.0.1:${kept}`]);
    assertEquals(await askPort(removed), "two /x");
    assertEquals(listeningInode(kept), before);
  },

  async "a connection that waits on a port which a reload removes is still answered"(server) {
    const { project } = server;
    const removed = freePort();
    await project.write(
      "app.ts",
      `export default { async fetch() {
        while (!await Deno.stat("./gate/open").then(() => true, () => false)) {
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
        return new Response("one /x");
      } };`,
    );
    await project.write("gate/.keep", "");
    await project.configure({ unveil: { "./gate": "r" } });
    await relisten(server, [`127.0.0.1:${project.port}`, `127.0.0.1:${removed}`]);
    const slow = askPort(removed);
    await untilTold("the request in flight", async () => {
      return (await server.status()).generations.at(-1)!.workers[0]?.process?.inFlight === 1;
    });
    await relisten(server, [`127.0.0.1:${project.port}`]);
    assertEquals(await refuses(removed), true);
    await project.write("gate/open", "");
    assertEquals(await slow, "one /x");
    await project.write("app.ts", version("one"));
    await project.configure({ unveil: {} });
    await relisten(server, [`127.0.0.1:${project.port}`]);
  },

  async "a new listener that cannot be bound refuses the reload, and the old goes on"(server) {
    const { project } = server;
    const before = listeningInode(project.port);
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const fine = freePort();
    await project.write("app.ts", version("two"));
    const { reason, hint } = await refusal(server, [
      `127.0.0.1:${project.port}`,
      `127.0.0.1:${fine}`,
      "unix:./app.sock",
      `127.0.0.1:${taken.addr.port}`,
    ]);
    assertStringIncludes(reason, `Cannot listen on 127.0.0.1:${taken.addr.port}: `);
    assertStringIncludes(hint, "ss -ltnp");
    // What was bound before the one that failed is closed again.
    assertEquals([await refuses(fine), exists(project.path("app.sock"))], [true, false]);
    assertEquals(await server.text("/"), "one /");
    assertEquals(listeningInode(project.port), before);
    assertEquals((await server.status()).listeners, [`127.0.0.1:${project.port}`]);
  },

  async "a candidate that fails leaves the new listeners closed"(server) {
    const { project } = server;
    const added = freePort();
    const socket = project.path("app.sock");
    const tcp = `127.0.0.1:${project.port}`;
    const listen = [tcp, `127.0.0.1:${added}`, "unix:./app.sock"];
    await project.write("app.ts", "throw new Error('no good');");
    await refusal(server, listen);
    assertEquals([await refuses(added), exists(socket)], [true, false]);
    assertEquals(listeningInode(added), undefined);
    assertEquals(await server.text("/"), "one /");
    // Control: with good code the same listeners come up.
    await project.write("app.ts", version("two"));
    await relisten(server, listen);
    assertEquals([await askPort(added), await askSocket(socket)], ["two /x", "two /x"]);
    // And one that fails keeps open what it would have removed.
    await project.write("app.ts", "throw new Error('no good');");
    await refusal(server, [tcp]);
    assertEquals([await askPort(added), await askSocket(socket)], ["two /x", "two /x"]);
    await project.write("app.ts", version("one"));
    await relisten(server, [tcp]);
  },

  async "a Unix socket has mode 0600 unless the config says more, and a reload changes it"(server) {
    const { project } = server;
    const socket = project.path("app.sock");
    const tcp = `127.0.0.1:${project.port}`;
    await relisten(server, [tcp, "unix:./app.sock"]);
    const { ino } = Deno.lstatSync(socket);
    assertEquals(modeOf(socket), 0o600);
    for (const mode of ["0660", "0666", "600"]) {
      await relisten(server, [tcp, { unix: "./app.sock", mode }]);
      assertEquals(modeOf(socket), Number.parseInt(mode, 8));
    }
    // A refused reload changes nothing.
    await project.write("app.ts", "throw new Error('no good');");
    await refusal(server, [tcp, { unix: "./app.sock", mode: "0666" }]);
    assertEquals(modeOf(socket), 0o600);
    assertEquals(Deno.lstatSync(socket).ino, ino);
    assertEquals(await askSocket(socket), "one /x");
    await project.write("app.ts", version("one"));
  },

  async "a socket file that somebody removed is made again, with the mode of then"(server) {
    const { project } = server;
    const tcp = `127.0.0.1:${project.port}`;
    await Deno.remove(project.path("app.sock"));
    await relisten(server, [tcp, { unix: "./app.sock", mode: "0666" }]);
    assertEquals(modeOf(project.path("app.sock")), 0o666);
    assertEquals(await server.text("/"), "one /");
  },

  async "a mode is not given to a socket that another program has put in the place"(server) {
    const { project } = server;
    const tcp = `127.0.0.1:${project.port}`;
    await relisten(server, [tcp, "unix:./other.sock"]);
    const socket = project.path("other.sock");
    await project.write("victim", "precious");
    await Deno.chmod(project.path("victim"), 0o600);
    await Deno.remove(socket);
    await Deno.symlink(project.path("victim"), socket);
    const reason = await refusal(server, [tcp, { unix: "./other.sock", mode: "0666" }]);
    assertStringIncludes(JSON.stringify(reason), "a file that is no socket is there");
    assertEquals(modeOf(project.path("victim")), 0o600);
    await relisten(server, [tcp]);
    assertEquals(await Deno.readTextFile(socket), "precious");
  },

  async "a socket file that a dead program left is replaced"(server) {
    const { project } = server;
    const socket = project.path("dead.sock");
    const dying = Deno.listen({ transport: "unix", path: project.path("dying.sock") });
    // Deno would remove it at the close.
    await Deno.rename(project.path("dying.sock"), socket);
    dying.close();
    await relisten(server, [`127.0.0.1:${project.port}`, "unix:./dead.sock"]);
    assertEquals(await askSocket(socket), "one /x");
  },

  async "a socket that another program serves stays that program's"(server) {
    const { project } = server;
    const socket = project.path("served.sock");
    using other = Deno.listen({ transport: "unix", path: socket });
    const { ino } = Deno.lstatSync(socket);
    const listen = [`127.0.0.1:${project.port}`, "unix:./served.sock"];
    const { reason } = await refusal(server, listen);
    assertStringIncludes(reason, `Cannot listen on unix:${socket}: another process listens`);
    assertEquals(Deno.lstatSync(socket).ino, ino);
    const connecting = Deno.connect({ transport: "unix", path: socket });
    (await other.accept()).close();
    (await connecting).close();
  },

  async "a file that is no socket is not touched"(server) {
    const { project } = server;
    await project.write("plain.sock", "precious");
    await Deno.symlink(project.path("plain.sock"), project.path("link.sock"));
    await Deno.mkdir(project.path("folder.sock"));
    for (const name of ["plain.sock", "link.sock", "folder.sock"]) {
      const { reason } = await refusal(server, [`127.0.0.1:${project.port}`, `unix:./${name}`]);
      assertStringIncludes(reason, `${name}: a file that is no socket is there`);
    }
    assertEquals(await Deno.readTextFile(project.path("link.sock")), "precious");
    assert(Deno.lstatSync(project.path("folder.sock")).isDirectory);
  },

  async "the socket file is removed at stop, but not when another has taken its place"(server) {
    const { project } = server;
    const names = ["ours", "moved_over", "made_anew"];
    await relisten(server, names.map((name) => `unix:./${name}.sock`));
    const [ours, movedOver, madeAnew] = names.map((name) => project.path(`${name}.sock`));
    const others = [net.createServer(), net.createServer()];
    others[0]!.listen(project.path("elsewhere.sock"));
    await until("the other socket", () => exists(project.path("elsewhere.sock")));
    await Deno.rename(project.path("elsewhere.sock"), movedOver!);
    // The file system may give the inode of the one to the other.
    await Deno.remove(madeAnew!);
    others[1]!.listen(madeAnew);
    await until("the other socket", () => exists(madeAnew!));
    assertEquals((await server.stop()).code, 0);
    const found = [ours, movedOver, madeAnew].map((path) => exists(path!));
    for (const other of others) await new Promise((resolve) => other.close(resolve));
    assertEquals(found, [false, true, true]);
  },
};

Deno.test("listeners over the reloads of one server", async (t) => {
  await using server = await Server.start({ config: { reload: { idleGraceMs: 100 } } });
  for (const [promise, keep] of Object.entries(TURNS)) {
    // Each begins with what the one before has left.
    if (!await t.step(promise, () => keep(server))) break;
  }
});

const NOT_OURS: Record<string, string> = {
  "an address of another machine": "192.0.2.1:8000",
  "an IPv6 address of another machine": "[2001:db8::1]:8000",
  "a Unix socket in a folder that is not there": "unix:./missing/app.sock",
  "a place where a file is that is no socket": "unix:./app.sock",
  "a socket that another program serves": "unix:./served.sock",
};

for (const [what, listen] of Object.entries(NOT_OURS)) {
  Deno.test(`${what} cannot be listened on: exit 71 with the address`, async () => {
    const project = await Project.create({
      files: { "app.sock": "precious" },
      config: { listen: [listen] },
    });
    using _other = Deno.listen({ transport: "unix", path: project.path("served.sock") });
    await using server = await Server.startOn(project, { wait: "exit" });
    assertEquals((await server.exited()).code, 71, server.log);
    assertStringIncludes(server.log, "Cannot listen on ");
    assertStringIncludes(server.log, listen.replace("unix:.", ""));
    if (!/app|served/.test(listen)) assertStringIncludes(server.log, "hint: ");
    assertEquals(await Deno.readTextFile(project.path("app.sock")), "precious");
    assert(exists(project.path("served.sock")));
  });
}

/** Whether a connection to a socket's file is taken. */
async function listens(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test("a Unix socket has its mode before anybody can connect to it", async () => {
  const waiting = `
    export async function open() {
      while (!await Deno.stat("./gate/open").then(() => true, () => false)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  `;
  await using server = await Server.start({
    files: { "app.ts": PLAIN_APP + waiting, "gate/.keep": "" },
    config: { listen: ["unix:./app.sock"], unveil: { "./gate": "r" } },
    wait: "nothing",
  });
  const socket = server.project.path("app.sock");
  // Between bind(2) and listen(2) the file is there, and who connects is refused.
  await until("it to listen", () => listens(socket));
  assertEquals(modeOf(socket), 0o600);
  // Nobody is served before the app is open, and the mode is what it was.
  await until("the worker", () => processesIn(server.project.folder).length > 0);
  assertEquals([modeOf(socket), server.eventsOf("serving")], [0o600, []]);
  await server.project.write("gate/open", "");
  await server.waitFor("serving");
  assertEquals(modeOf(socket), 0o600);
});

Deno.test("both wildcards of a port are listened on, each for its own addresses", async (t) => {
  const project = await Project.create({});
  const { port } = project;
  const [ipv4, ipv6] = [`0.0.0.0:${port}`, `[::]:${port}`];
  await project.configure({ listen: [ipv4, ipv6] });
  await using server = await Server.startOn(project);
  const answerBoth = async () => {
    assertEquals(await askPort(port), "one /x");
    assertEquals(await askPort(port, "::1"), "one /x");
  };
  await t.step("both answer, over a reload and an upgrade too", async () => {
    await answerBoth();
    assertEquals((await server.reload()).outcome, "done");
    await answerBoth();
    server.signal("SIGUSR2");
    await server.waitFor("serving", 2);
    await answerBoth();
    assertEquals((await server.reload()).outcome, "done");
    await answerBoth();
  });
  await t.step("a reload that would need another socket is refused with the reason", async () => {
    await project.configure({ listen: [ipv6] });
    const { outcome, reason, hint } = await server.reload();
    assertEquals(outcome, "refused");
    assertStringIncludes(reason!, "IPv6 alone");
    assertStringIncludes(hint!, "Restart");
    await answerBoth();
  });
  await t.step("each of them alone is what it was", async () => {
    await project.configure({ listen: [ipv4] });
    assertEquals((await server.reload()).outcome, "done");
    await server.waitFor("listener_closed");
    assertEquals(await askPort(port), "one /x");
    await assertRejects(() => askPort(port, "::1"), Deno.errors.ConnectionRefused);
  });
});
