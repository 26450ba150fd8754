/** Deno's layer of the wall, tried from inside: the app runs what the test tells it to. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { countDescriptors, isAlive, readArguments } from "./harness/process.ts";
import { denial, OBEYING_APP, tell } from "./harness/obeying_app.ts";
import { Server } from "./harness/server.ts";
import { freePort } from "./harness/ports.ts";
import { until } from "./harness/wait.ts";

const FOLDERS = { readable: "r", writable: "w", creatable: "c", data: "rwc", "with space": "r" };

type Listed = ReturnType<typeof serveText>;
type Case = (server: Server, listed: Listed) => Promise<void>;

/** What is tried on one and the same server, in this order. */
const CASES: [name: string, run: Case][] = [];

function shared(name: string, run: Case): void {
  CASES.push([name, run]);
}

/** A server that grants something of every kind. */
async function start({ port }: Listed): Promise<Server> {
  const server = await Server.start({
    files: { "app.ts": OBEYING_APP, ...files() },
    config: {
      unveil: Object.fromEntries(
        Object.entries(FOLDERS).map(([name, rights]) => [`./${name}`, rights]),
      ),
      net: [`127.0.0.1:${port}`],
      env: ["GREETING", "TOKEN", "NOT_SET"],
    },
    env: { GREETING: "hello", TOKEN: "hunter2", SECRET: "do not pass", HTTP_PROXY: "http://a" },
  });
  return server;
}

function files(): Record<string, string> {
  return {
    "secret.ts": "export default 'secret';",
    ...Object.fromEntries(Object.keys(FOLDERS).map((name) => [`${name}/file.txt`, name])),
  };
}

/** Puts everything back that a case has changed. */
async function restore({ project }: Server): Promise<void> {
  for (const name of Object.keys(FOLDERS)) {
    // The folder itself stays: the wall is about it, and not about its name.
    for (const entry of Deno.readDirSync(project.path(name))) {
      await Deno.remove(project.path(`${name}/${entry.name}`), { recursive: true });
    }
  }
  for (const [path, text] of Object.entries(files())) await project.write(path, text);
}

/** Fails unless the worker that was there at the start is still there. */
async function assertStillThere(server: Server): Promise<void> {
  assertEquals(await tell(server, "return 1"), { ok: 1 });
  assertEquals(server.eventsOf("worker_lost"), []);
}

async function workerPid(server: Server): Promise<number> {
  const [pid] = await server.workers();
  assert(pid !== undefined && isAlive(pid));
  return pid;
}

shared(
  "an app reads what is unveiled with r, and neither reads nor lists anything else",
  async (server) => {
    const { project } = server;
    const read = (path: string) => `return await Deno.readTextFile(${JSON.stringify(path)})`;
    assertEquals(await tell(server, read("./readable/file.txt")), { ok: "readable" });
    assertEquals(await tell(server, read(project.path("data/file.txt"))), { ok: "data" });
    const denoDir = (await environmentOf(server)).DENO_DIR!;
    const forbidden = [
      "/etc/passwd",
      "/proc/self/environ",
      "/proc/self/cmdline",
      `/proc/${server.pid}/environ`,
      `${denoDir}/gen`,
      Deno.execPath(),
      project.configFile,
      project.path("app.ts"),
      project.path("secret.ts"),
      project.path(".holdfast/lock"),
      project.path("writable/file.txt"),
      project.path("creatable/file.txt"),
      project.path("readable/../secret.ts"),
    ];
    for (const path of forbidden) {
      const text = JSON.stringify(path);
      const ways = {
        [read(path)]: "NotFound",
        [`return await Deno.stat(${text})`]: "NotFound",
        [`return [...Deno.readDirSync(${text})]`]: "NotFound",
        [`return (await import("node:fs")).readFileSync(${text}, "utf8")`]: "Error",
        [`return await (await fetch("file://" + ${text})).text()`]: "NotFound",
      };
      for (const [code, name] of Object.entries(ways)) {
        assertEquals(await denial(server, code), name, code);
      }
    }
    await assertStillThere(server);
  },
);

shared("an app writes where w or c is unveiled, and nowhere else", async (server) => {
  const { project } = server;
  const write = (path: string) =>
    `await Deno.writeTextFile(${JSON.stringify(project.path(path))}, "new")`;
  for (const path of ["writable/file.txt", "data/made.txt"]) {
    assertEquals(await tell(server, write(path)), { ok: null }, path);
    assertEquals(await Deno.readTextFile(project.path(path)), "new");
  }
  for (const path of ["readable/file.txt", "readable/made.txt", "app.ts", "made.txt", "../made"]) {
    assertEquals(await denial(server, write(path)), "NotCapable", path);
  }
  // Deno cannot tell these two rights from each other; the kernel can.
  for (const path of ["creatable/made.txt", "creatable/file.txt", "writable/made.txt"]) {
    assertEquals(await denial(server, write(path)), "PermissionDenied", path);
  }
  const make = `await Deno.mkdir(${JSON.stringify(project.path("creatable/folder"))})`;
  assertEquals(await tell(server, make), { ok: null });
  assertEquals(await Deno.readTextFile(project.path("readable/file.txt")), "readable");
  assertEquals(await Deno.readTextFile(project.path("app.ts")), OBEYING_APP);
  await assertStillThere(server);
});

shared(
  "an app renames and links within its folders, and neither out of them nor into them",
  async (server) => {
    const { project } = server;
    const data = (name: string) => JSON.stringify(project.path(`data/${name}`));
    const outside = JSON.stringify(project.path("outside.txt"));
    assertEquals(await tell(server, `Deno.renameSync(${data("file.txt")}, ${data("moved.txt")})`), {
      ok: null,
    });
    for (
      const code of [
        `Deno.renameSync(${data("moved.txt")}, ${outside})`,
        `Deno.renameSync(${JSON.stringify(project.path("secret.ts"))}, ${data("secret.ts")})`,
        `Deno.copyFileSync(${JSON.stringify(project.path("secret.ts"))}, ${data("secret.ts")})`,
        `Deno.linkSync("/etc/passwd", ${data("passwd")})`,
        `Deno.symlinkSync("/etc/passwd", ${data("passwd")})`,
        `(await import("node:fs")).symlinkSync("/etc/passwd", ${data("passwd")})`,
        `Deno.chdir("/")`,
        `await Deno.makeTempFile()`,
      ]
    ) {
      // What may not be read is not there; what may not be written is refused.
      const name = await denial(server, code);
      assert(["NotCapable", "NotFound"].includes(name!), `${code}: ${name}`);
    }
    assertEquals([...Deno.readDirSync(project.path("data"))].map(({ name }) => name), [
      "moved.txt",
    ]);
    await assertStillThere(server);
  },
);

shared("an app starts no program, by whatever name the call goes", async (server) => {
  const mark = server.project.path("data/mark");
  const program = `"/bin/touch", [${JSON.stringify(mark)}]`;
  assertEquals(await tell(server, `Deno.writeTextFileSync(${JSON.stringify(mark)}, "control")`), {
    ok: null,
  });
  await Deno.remove(mark);
  for (
    const code of [
      `return await new Deno.Command("/bin/touch", { args: [${JSON.stringify(mark)}] }).output()`,
      `const { spawn } = await import("node:child_process");
       return await new Promise((resolve, reject) => {
         try {
           spawn(${program}).on("error", reject).on("exit", resolve);
         } catch (error) {
           reject(error);
         }
       })`,
      `process.kill(process.ppid, "SIGTERM")`,
      `Deno.kill(Deno.ppid, "SIGTERM")`,
      `Deno.kill(${Deno.pid}, "SIGURG")`,
    ]
  ) {
    assertEquals(await denial(server, code), "NotCapable", code);
  }
  for (const name of ["spawnSync", "execFileSync"]) {
    const code = `return (await import("node:child_process")).${name}(${program}).status`;
    const { ok } = await tell(server, code);
    assert(ok === undefined || ok === null, `${name} gave ${ok}`);
  }
  assertEquals(await Deno.stat(mark).catch((error) => error.name), "NotFound");
  await assertStillThere(server);
});

shared("an app loads no native library and learns nothing of the machine", async (server) => {
  assertEquals(await tell(server, "return typeof Deno.memoryUsage().rss"), { ok: "number" });
  for (
    const code of [
      `Deno.dlopen("libc.so.6", {})`,
      `process.dlopen({ exports: {} }, "/lib/x86_64-linux-gnu/libc.so.6")`,
      `const { DatabaseSync } = await import("node:sqlite");
       new DatabaseSync(":memory:", { allowExtension: true })`,
      `(await import("node:inspector")).open()`,
    ]
  ) {
    assertEquals(await denial(server, code), "NotCapable", code);
  }
  // The same answers everywhere; what is true is refused by the runtime, in a thread that has no others.
  const facts = `return [Deno.hostname(), (await import("node:os")).hostname(), Deno.uid(),
    process.getuid(), Deno.networkInterfaces().length, Deno.systemMemoryInfo().total]`;
  const nobody = 65_534;
  assertEquals((await tell(server, facts)).ok, [
    ...["localhost", "localhost", nobody, nobody, 1, 2 ** 30],
  ]);
  await assertStillThere(server);
});

shared(
  "an app imports built-in modules, and none from a path that is not unveiled or from afar",
  async (server) => {
    await server.project.write("readable/module.ts", "export default 'a module';");
    const { project } = server;
    const load = (name: string) => `return (await import(${JSON.stringify(name)})).default`;
    const url = (path: string) => `file://${project.path(path)}`;
    assertEquals(await tell(server, load(url("readable/module.ts"))), { ok: "a module" });
    assertEquals((await tell(server, `return (await import("node:path")).sep`)).ok, "/");
    const refused: [string, RegExp][] = [
      [url("secret.ts"), /not unveiled; add "unveil"/],
      [url("app.ts?again"), /in no image/],
      ["/etc/passwd", /in no image/],
      ["https://deno.land/x/mod.ts", /no code is fetched/],
      ["https://raw.githubusercontent.com/a/b/c.ts", /no code is fetched/],
      ["http://127.0.0.1:1/mod.ts", /no code is fetched/],
      ["jsr:@std/assert@1", /no code is fetched/],
      [
        "npm:left-pad@1.3.0",
        /Could not find constraint 'left-pad@1\.3\.0' in the list of packages/,
      ],
      ["left-pad", /Import "left-pad" not found, in file:.*app\.ts: .* was no dependency/],
    ];
    for (const [name, why] of refused) {
      const { denied, message } = await tell(server, load(name));
      assertEquals(denied, "TypeError", name);
      assert(why.test(message!), `${name}: ${message}`);
    }
    await assertStillThere(server);
  },
);

shared("a Worker thread of an app may do no more than the app", async (server) => {
  const inThread = (code: string) => {
    const source = `postMessage(await (async () => { ${code} })().catch((error) => error.name))`;
    const module = JSON.stringify(`data:text/javascript,${encodeURIComponent(source)}`);
    return `return await new Promise((resolve) => {
      const worker = new Worker(${module}, { type: "module" });
      worker.onerror = (event) => {
        event.preventDefault();
        resolve(event.message);
      };
      worker.onmessage = ({ data }) => {
        worker.terminate();
        resolve(data);
      };
    })`;
  };
  const readable = JSON.stringify(server.project.path("readable/file.txt"));
  assertEquals(await tell(server, inThread(`return await Deno.readTextFile(${readable})`)), {
    ok: "readable",
  });
  assertEquals(await tell(server, inThread(`return await Deno.readTextFile("/etc/passwd")`)), {
    ok: "NotFound",
  });
  for (
    const code of [
      `return Deno.hostname()`,
      `return await new Deno.Command("/bin/true").output()`,
      `return Deno.connectSync ?? await Deno.connect({ port: ${server.project.port} })`,
    ]
  ) {
    assertEquals(await tell(server, inThread(code)), { ok: "NotCapable" }, code);
  }
  await assertStillThere(server);
});

const DIALS = {
  "Deno.connect": (port: number) => `(await Deno.connect({ port: ${port} })).close()`,
  "Deno.connect by name": (port: number) =>
    `(await Deno.connect({ hostname: "127.0.0.1", port: ${port} })).close()`,
  "fetch": (port: number) => `await (await fetch("http://127.0.0.1:${port}/")).text()`,
  "node:net": (port: number) =>
    `const net = await import("node:net");
     await new Promise((resolve, reject) => {
       try {
         const socket = net.connect(${port}, "127.0.0.1", () => resolve(socket.destroy()));
         socket.on("error", reject);
       } catch (error) {
         reject(error);
       }
     })`,
};

shared("an app dials exactly what net lists, and no other port or host", async (server, listed) => {
  await using other = serveText();
  for (const [way, dial] of Object.entries(DIALS)) {
    assertEquals(await tell(server, dial(listed.port)), { ok: null }, way);
    assertEquals(await denial(server, dial(other.port)), "NotCapable", way);
    assertEquals(await denial(server, dial(server.project.port)), "NotCapable", way);
  }
  for (const host of ["127.0.0.2", "localhost", "0.0.0.0", "[::1]"]) {
    const code = `await (await fetch("http://${host}:${listed.port}/")).text()`;
    assertEquals(await denial(server, code), "NotCapable", host);
  }
  await assertStillThere(server);
});

/** A Unix socket that may not be read is not there. */
async function assertRefused(server: Server, code: string): Promise<void> {
  const name = await denial(server, code);
  const names = code.includes("unix") ? ["NotFound", "NotCapable"] : ["NotCapable"];
  assert(names.includes(name!), `${code}: ${name}`);
}

function listenings(): string[] {
  return [
    `Deno.listen({ hostname: "127.0.0.1", port: ${freePort()} })`,
    `Deno.listen({ transport: "unix", path: "data/socket" })`,
    `await Deno.connect({ transport: "unix", path: ".holdfast/control.sock" })`,
    `const net = await import("node:net");
       await new Promise((resolve, reject) => {
         try {
           net.createServer().on("error", reject).listen(0, resolve);
         } catch (error) {
           reject(error);
         }
       })`,
  ];
}

shared("an app listens nowhere even with net", async (server) => {
  const port = freePort();
  const serves = [
    `Deno.serve({ port: ${port} }, () => new Response())`,
    `(await import("node:http")).createServer().listen(${port})`,
  ];
  // It is told that it listens, and nobody does.
  for (const code of serves) {
    assertEquals((await tell(server, code)).denied, undefined, code);
    await assertRejects(() => Deno.connect({ port }), Deno.errors.ConnectionRefused);
  }
  for (const code of listenings()) await assertRefused(server, code);
  await assertStillThere(server);
});

shared("what an app may not do is refused at once: nobody is asked", async (server) => {
  for (const name of ["read", "write", "net", "run", "ffi", "sys", "env"]) {
    const code = `return (await Deno.permissions.request({ name: "${name}" })).state`;
    const { ok } = await tell(server, code);
    assertEquals(ok, "denied", name);
  }
  const path = JSON.stringify(server.project.path("readable"));
  const code = `return (await Deno.permissions.request({ name: "read", path: ${path} })).state`;
  assertEquals((await tell(server, code)).ok, "granted");
  assertEquals((await tell(server, `return [prompt("?"), confirm("?")]`)).ok, [null, false]);
  await assertStillThere(server);
});

shared(
  "what an app says over the runtime's IPC reaches nobody, and costs the supervisor nothing",
  async (server) => {
    const fd = (await tell(server, `return Deno.env.get("NODE_CHANNEL_FD") ?? null`)).ok;
    assertEquals(fd, null);
    const before = countDescriptors(server.pid);
    const port = freePort();
    const say = `
    const net = await import("node:net");
    const lines = [
      { cmd: "NODE_HANDLE", type: "net.Server", msg: {} },
      { cmd: "NODE_CLUSTER", act: "queryServer", address: "127.0.0.1", port: ${port}, fd: 4 },
      { cmd: "NODE_CLOSE" },
    ];
    let sent = 0;
    for (const line of lines) if (process.send(line)) sent++;
    return sent;
  `;
    // Positive control: they do go out.
    assertEquals((await tell(server, say)).ok, 3);
    const bound = await Deno.connect({ hostname: "127.0.0.1", port }).then(() => true, () => false);
    assertEquals(bound, false);
    await until("what it had open and no more", () => countDescriptors(server.pid) <= before);
    assertEquals((await server.hangUp()).event, "reload_done");
    await server.waitFor("generation_ended");
    await assertStillThere(server);
  },
);

shared("an app cannot use Deno's own open files by their numbers", async (server) => {
  const code = `
    const fs = await import("node:fs");
    const own = fs.openSync(${JSON.stringify(server.project.path("data/file.txt"))}, "r+");
    const usable = [];
    for (let fd = 3; fd < 300; fd++) {
      for (const use of [() => fs.fstatSync(fd), () => fs.readSync(fd, new Uint8Array(1), 0, 1, 0)]) {
        try {
          use();
          usable.push(fd === own ? "own" : fd);
        } catch {}
      }
    }
    fs.closeSync(own);
    return usable;
  `;
  assertEquals((await tell(server, code)).ok, ["own", "own"]);
});

/** What the runtime's IPC needs at start; Deno takes it out of the environment before the app. */
const RUNTIME_NAMES = ["NODE_CHANNEL_FD"];

async function environmentOf(server: Server): Promise<Record<string, string>> {
  const text = await Deno.readTextFile(`/proc/${await workerPid(server)}/environ`);
  const lines = text.split("\0").filter((line) => line !== "");
  return Object.fromEntries(lines.map((line) => [
    line.slice(0, line.indexOf("=")),
    line.slice(line.indexOf("=") + 1),
  ]));
}

shared(
  "a worker's environment is what env lists and what Deno needs, and the app sees the list alone",
  async (server) => {
    const environment = await environmentOf(server);
    assertEquals(
      Object.keys(environment).sort(),
      [
        ...["DENO_DIR", "DENO_NO_PACKAGE_JSON", "DENO_NO_UPDATE_CHECK", "NO_COLOR"],
        ...["GREETING", "TOKEN", ...RUNTIME_NAMES],
      ].sort(),
    );
    assertEquals([environment.GREETING, environment.TOKEN], ["hello", "hunter2"]);
    const seen = { GREETING: "hello", TOKEN: "hunter2", NODE_ENV: "production" };
    assertEquals((await tell(server, "return Deno.env.toObject()")).ok, seen);
    assertEquals((await tell(server, "return { ...process.env }")).ok, seen);
    const hidden = ["SECRET", "HOME", "PATH", "DENO_DIR", "DENO_NO_PACKAGE_JSON", "HTTP_PROXY"];
    for (const name of [...hidden, ...RUNTIME_NAMES]) {
      const code =
        `return [Deno.env.get("${name}"), process.env["${name}"], Deno.env.has("${name}")]`;
      assertEquals((await tell(server, code)).ok, [null, null, false], name);
    }
  },
);

shared(
  "a worker's command line carries no value of a variable, and grants what the config says",
  async (server, listed) => {
    const { project } = server;
    const given = readArguments(await workerPid(server));
    assert(!given.join(" ").includes("hunter2"), given.join(" "));
    const folders = (...names: string[]) => names.map((name) => project.path(name)).join(",");
    assertEquals(given.filter((argument) => /^(-A|--allow)/.test(argument)), [
      `--allow-read=${folders("readable", "data", "with space")}`,
      `--allow-write=${folders("writable", "creatable", "data")}`,
      `--allow-net=127.0.0.1:${listed.port}`,
      "--allow-env=GREETING,TOKEN,NOT_SET",
      // Given up by its first lines.
      "--allow-ffi",
    ]);
    for (
      const flag of ["--no-prompt", "--cached-only", "--deny-run", "--allow-ffi", "--deny-sys"]
    ) {
      assert(given.includes(flag), flag);
    }
  },
);

Deno.test("an app with no entry at all in its config is granted nothing, and dials and listens nowhere", async () => {
  await using listed = serveText();
  await using server = await Server.start({ files: { "app.ts": OBEYING_APP } });
  const given = readArguments(await workerPid(server));
  assertEquals(given.filter((argument) => /^(-A|--allow)/.test(argument)), ["--allow-ffi"]);
  for (const name of ["read", "write", "net", "env", "run", "ffi", "sys", "import"]) {
    const code = `return (await Deno.permissions.query({ name: "${name}" })).state`;
    // What was given up is a question that nobody is asked.
    assertEquals((await tell(server, code)).ok, name === "ffi" ? "prompt" : "denied", name);
  }
  assertEquals((await tell(server, "return Deno.env.toObject()")).ok, { NODE_ENV: "production" });
  const dials = Object.values(DIALS).map((dial) => dial(listed.port));
  for (const code of [...listenings(), ...dials]) await assertRefused(server, code);
  await assertStillThere(server);
});

shared("a path with a space is unveiled as itself", async (server) => {
  const { project } = server;
  await project.write("other/file.txt", "other");
  const read = (path: string) =>
    `return await Deno.readTextFile(${JSON.stringify(project.path(path))})`;
  assertEquals((await tell(server, read("with space/file.txt"))).ok, "with space");
  assertEquals(await denial(server, read("other/file.txt")), "NotFound");
});

Deno.test("a worker may do what its config says and no more, tried from inside", async (t) => {
  await using listed = serveText();
  await using server = await start(listed);
  for (const [name, run] of CASES) {
    await t.step(name, () => run(server, listed));
    await restore(server);
  }
});

/** A server of the test's own, for an app to dial. */
function serveText() {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("reached"),
  );
  return {
    port: server.addr.port,
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
}
