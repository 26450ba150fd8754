/** Getting at secrets and at the runtime's insides. */
import { Buffer } from "node:buffer";
import { fstatSync, readFileSync, readSync } from "node:fs";
import * as os from "node:os";
import process from "node:process";
import { getHeapSnapshot } from "node:v8";
import { runInNewContext } from "node:vm";
import { SHARE_ENV, Worker as NodeWorker } from "node:worker_threads";
import type { Attempt, World } from "../attempt.ts";
import { AT_FDCWD, call, must, readNatively, Refused } from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

type More = Partial<Attempt>;

/** An attempt that Deno stops, and of which the kernel knows nothing. */
function denosOwn(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return {
    ...{ id, area: "secrets", title, deno: "stops", kernel: "open", proof: "claim" },
    ...more,
    run,
  };
}

/** An attempt that both layers stop. */
function stopped(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return denosOwn(id, title, run, { kernel: "stops", ...more });
}

/** Something that may happen; the attempt throws if it goes beyond its bound. */
function bounded(
  id: string,
  title: string,
  note: string,
  run: Attempt["run"],
  more: More = {},
): Attempt {
  return denosOwn(id, title, run, { deno: "contained", kernel: "contained", note, ...more });
}

/** What an interface that hides something answers in its place is a refusal. */
function orRefused<T>(value: T | undefined | null): T {
  if (value === undefined || value === null) throw new Refused("it does not exist here");
  return value;
}

// ---- the environment ----

/** In every worker's environment, and in no grant: Deno needs it, the app does not. */
const HIDDEN = "DENO_DIR";

const ENVIRONMENT_NOTE = "Its own environment, which starts empty: it has no secret";

const ENVIRONMENT: readonly Attempt[] = [
  ...Object.entries<(world: World) => unknown>({
    get: () => Deno.env.get(HIDDEN),
    object: () => Deno.env.toObject()[HIDDEN],
    has: () => Deno.env.has(HIDDEN) || undefined,
    node: () => process.env[HIDDEN],
    spread: () => ({ ...process.env })[HIDDEN],
    in: () => HIDDEN in process.env || undefined,
    keys: () => Object.keys(process.env).find((name) => name === HIDDEN),
    json: () => JSON.parse(JSON.stringify(process.env))[HIDDEN],
    descriptor: () => Object.getOwnPropertyDescriptor(process.env, HIDDEN)?.value,
    context: () => runInNewContext("env.get(name)", { env: Deno.env, name: HIDDEN }),
    thread: () => inWebWorker((name: string) => Deno.env.get(name), HIDDEN),
    shared: () => inNodeWorker(`process.env.${HIDDEN}`, { env: SHARE_ENV }),
  }).map(([name, read]) =>
    denosOwn(
      `SE1.${name}`,
      `read a variable of the environment that it was not granted (${name})`,
      async (world) => orRefused(await read(world)),
      { note: `${ENVIRONMENT_NOTE}. CVE-2025-48934, GHSA-7w8p-chxq-2789` },
    )
  ),
  denosOwn("SE1.set", "set LD_PRELOAD in its environment", () => {
    Deno.env.set("LD_PRELOAD", "/nowhere");
    return orRefused(Deno.env.get("LD_PRELOAD"));
  }, { note: "It can start no program that would read it", alone: true }),
  denosOwn("SE1.set_node", "set NODE_OPTIONS by process.env", () => {
    process.env.NODE_OPTIONS = "--inspect";
    return orRefused(process.env.NODE_OPTIONS);
  }, { note: "It can start no program that would read it", alone: true }),
];

/** Runs an expression in a thread of node:worker_threads. */
function inNodeWorker(expression: string, options: { env?: typeof SHARE_ENV }): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  const source = `const { parentPort } = require("node:worker_threads");
    parentPort.postMessage(${expression});`;
  const thread = new NodeWorker(source, { eval: true, ...options });
  thread.on("message", resolve);
  thread.on("error", reject);
  return promise.finally(() => thread.terminate());
}

// ---- the machine ----

const MACHINE_NOTE = "No secret to the kernel";

const MACHINE: readonly Attempt[] = Object.entries<() => unknown>({
  hostname: () => Deno.hostname(),
  osRelease: () => Deno.osRelease(),
  osUptime: () => Deno.osUptime(),
  loadavg: () => Deno.loadavg(),
  systemMemoryInfo: () => Deno.systemMemoryInfo(),
  uid: () => `uid ${Deno.uid()}`,
  gid: () => `gid ${Deno.gid()}`,
  node_hostname: () => os.hostname(),
  node_release: () => os.release(),
  node_version: () => os.version(),
  node_uptime: () => os.uptime(),
  node_loadavg: () => os.loadavg(),
  node_freemem: () => os.freemem(),
  node_getuid: () => `uid ${process.getuid!()}`,
  node_geteuid: () => `uid ${process.geteuid!()}`,
  node_getgroups: () => process.getgroups!(),
  node_umask: () => `umask ${process.umask()}`,
  node_available: () => process.availableMemory(),
  thread: () => inWebWorker(() => Deno.hostname(), undefined),
}).map(([name, read]) =>
  denosOwn(`SE7.${name}`, `learn about the machine or the user (${name})`, read, {
    note: MACHINE_NOTE,
  })
).concat(
  Object.entries<() => unknown>({
    networkInterfaces: () => Deno.networkInterfaces().length || undefined,
    node_interfaces: () => Object.keys(os.networkInterfaces()).length || undefined,
    node_homedir: () => os.homedir(),
    node_cpus: () => os.cpus()[0]?.model,
    node_user: () => userName(),
  }).map(([name, read]) =>
    stopped(
      `SE7.${name}`,
      `learn about the machine or the user (${name})`,
      () => orRefused(read()),
      { optional: true },
    )
  ),
);

/** Not every user has a name. */
function userName(): string | undefined {
  try {
    return os.userInfo().username;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

// ---- what is free by design ----

const FREE: readonly Attempt[] = [
  bounded("SE7.exec_path", "where the Deno program is", "A path is not a secret", () => {
    return Deno.execPath();
  }),
  bounded("SE7.cwd", "where the project is", "A path is not a secret", () => Deno.cwd()),
  bounded("SE7.parent", "the number of the supervisor's process", "It cannot be signalled", () => {
    return process.ppid;
  }),
  bounded("SE7.memory", "how much memory it uses itself", "Its own figures", () => {
    return process.memoryUsage().rss;
  }),
  bounded(
    "SE2.arguments",
    "look for secrets in its own arguments",
    "Its arguments are its permissions, and any user of the machine can read them",
    () => {
      const odd = [...Deno.args, ...process.argv.slice(2)].filter((each) => each !== "wide");
      if (odd.length > 0) throw new Error(`Unexpected arguments: ${odd}`);
      return process.argv;
    },
  ),
  bounded(
    "SE5.heap",
    "look for the supervisor's secret in a snapshot of its own memory",
    "A worker starts as a new program: it is not a copy of its supervisor",
    async () => {
      let text = "";
      for await (const chunk of getHeapSnapshot()) {
        // A secret that two chunks share is found as well.
        text = text.slice(-100) + chunk;
        if (/secret-[0-9a-f]{8}-[0-9a-f]{4}/.test(text)) throw new Error("Found one");
      }
      return "none";
    },
    { alone: true },
  ),
];

// ---- files that hold secrets ----

const FILES: readonly Attempt[] = [
  ...Object.entries<(path: string) => number>({
    deno: (path) => Deno.readFileSync(path).length,
    node: (path) => readFileSync(path).length,
    native: (path) => readNatively(path).length,
  }).flatMap(([name, read]) => [
    stopped(`SE4.shadow_${name}`, `read the hashes of passwords (${name})`, () => {
      return read("/etc/shadow");
    }, { needs: "root", optional: true }),
    stopped(`SE4.config_${name}`, `read Holdfast's own config (${name})`, ({ configFile }) => {
      return read(configFile);
    }),
  ]),
  stopped("SE4.cache", "list the folder of Deno's cache", ({ denoDir }) => {
    return [...Deno.readDirSync(denoDir)].length;
  }),
  stopped("SE4.processes", "list all processes", () => [...Deno.readDirSync("/proc")].length),
];

// ---- descriptors ----

const S_IFMT = 0o170000;
const S_IFIFO = 0o010000;
const S_IFSOCK = 0o140000;

/** The kinds of a descriptor that a worker is given, or makes for itself. */
const KINDS: ReadonlyMap<number, string> = new Map([
  [S_IFIFO, "pipe"],
  [S_IFSOCK, "socket"],
  [0, "event"],
]);

const DESCRIPTORS: readonly Attempt[] = [
  bounded(
    "SE3.node",
    "look by fs.fstatSync for descriptors that were left to it",
    "Pipes, sockets and what the runtime waits by; no file or folder",
    () => {
      const found: string[] = [];
      for (let fd = 0; fd < 1024; fd++) {
        const kind = kindByNode(fd);
        if (kind === undefined) continue;
        // Its program, a file in memory that nobody can change, is what it has on standard input.
        if (kind.startsWith("other") && fd !== 0) throw new Error(`Descriptor ${fd} is ${kind}`);
        found.push(`${fd} ${kind}`);
      }
      return found;
    },
  ),
  denosOwn("SE3.native", "look by fcntl(2) and readlink(2) for descriptors that were left to it", ({
    denoDir,
    denoProgram,
  }) => {
    const found: string[] = [];
    for (let fd = 0; fd < 4096; fd++) {
      const link = linkOf(fd);
      if (link === undefined) continue;
      const known = /^(pipe|socket):|^anon_inode:\[(eventpoll|eventfd|timerfd|signalfd|pidfd)\]$/;
      const own = link === "/dev/null" || link === "/dev/urandom" || link === denoProgram ||
        isCache(link, denoDir);
      if (!known.test(link) && !own && link !== "/memfd:holdfast (deleted)") {
        throw new Error(`Descriptor ${fd} is ${link}`);
      }
      found.push(`${fd} ${link}`);
    }
    return found;
  }, {
    kernel: "contained",
    note: "Pipes, sockets, what the runtime waits by, and Deno's own cache; nothing else",
  }),
  stopped(
    "SE3.cache",
    "find a descriptor of Deno's cache that can be written to",
    ({ denoDir }) => {
      const [F_GETFL, O_ACCMODE] = [3, 3];
      const found: string[] = [];
      for (let fd = 0; fd < 256; fd++) {
        const link = linkOf(fd);
        if (link === undefined || !isCache(link, denoDir)) continue;
        if ((must("fcntl", fd, F_GETFL) & O_ACCMODE) !== 0) found.push(link);
      }
      if (found.length === 0) throw new Refused("the cache is open for reading alone, if at all");
      return found;
    },
  ),
];

/** Whether a file is in the user's DENO_DIR, or in that of an image. */
function isCache(path: string, denoDir: string): boolean {
  return path.startsWith(`${denoDir}/`) ||
    /\/images\/settings\/[0-9a-f]{64}\/deno_dir\//.test(path);
}

function kindByNode(fd: number): string | undefined {
  try {
    const { mode } = fstatSync(fd);
    return KINDS.get(mode & S_IFMT) ?? `other, mode ${mode.toString(8)}`;
  } catch (error) {
    if ((error as { code?: string }).code === "EBADF") return undefined;
    throw error;
  }
}

/** What a descriptor is of. */
function linkOf(fd: number): string | undefined {
  const F_GETFD = 1;
  if (call("fcntl", fd, F_GETFD).errno !== 0) return undefined;
  const link = new Uint8Array(512);
  const length = must("readlinkat", AT_FDCWD, `/proc/self/fd/${fd}`, link, link.length);
  return new TextDecoder().decode(link.subarray(0, length));
}

// ---- permissions ----

/** Every kind there is, as narrow as a worker could want it. */
const KINDS_OF_PERMISSION = ({ outside, tcpPort }: World): Record<string, object> => ({
  read: { name: "read", path: outside },
  write: { name: "write", path: outside },
  net: { name: "net", host: `127.0.0.1:${tcpPort}` },
  env: { name: "env", variable: HIDDEN },
  sys: { name: "sys", kind: "hostname" },
  run: { name: "run", command: "sh" },
  ffi: { name: "ffi", path: "/usr/lib" },
  import: { name: "import", host: "example.com:443" },
});

function granted({ state }: { state: string }): string {
  if (state !== "granted") throw new Refused(state);
  return state;
}

const DENOS_NOTE = "Permissions exist only in Deno";

const PERMISSIONS: readonly Attempt[] = [
  ...["read", "write", "net", "env", "sys", "run", "ffi", "import"].map((name) =>
    denosOwn(`SE11.request_${name}`, `ask for the permission ${name}`, async (world) => {
      const wanted = KINDS_OF_PERMISSION(world)[name] as Deno.PermissionDescriptor;
      return granted(await Deno.permissions.request(wanted));
    }, { note: DENOS_NOTE })
  ),
  denosOwn("SE11.request_all", "ask for all that can be read", () => {
    return granted(Deno.permissions.requestSync({ name: "read" }));
  }, { note: DENOS_NOTE }),
  denosOwn("SE11.parent", "ask for a folder above of one that it has", ({ folder }) => {
    return granted(Deno.permissions.requestSync({ name: "read", path: folder }));
  }, { note: DENOS_NOTE }),
  denosOwn("SE8.escapes", "ask with a name that would repaint a terminal's question", ({
    outside,
  }) => {
    const path = `${outside}/\u001b[1A\u001b[2K\u202eyes`;
    return granted(Deno.permissions.requestSync({ name: "read", path }));
  }, { note: `${DENOS_NOTE}. CVE-2023-28446, CVE-2024-27936` }),
  denosOwn("SE8.thread", "ask from a thread", ({ outside }) =>
    inWebWorker(async (path: string) => {
      const { state } = await Deno.permissions.request({ name: "read", path });
      if (state !== "granted") throw Object.assign(new Error(state), { name: "Refused" });
      return state;
    }, outside), { note: `${DENOS_NOTE}. CVE-2023-22499` }),
  denosOwn("SE11.revoke", "give a permission back and ask again", ({ outside }) => {
    Deno.permissions.revokeSync({ name: "write", path: "/nowhere" });
    return granted(Deno.permissions.requestSync({ name: "read", path: outside }));
  }, { note: DENOS_NOTE, alone: true }),
  bounded(
    "SE11.thread_options",
    "start a thread with more permissions than its own",
    "Permissions of threads are an unstable feature: without its flag, Deno ends the process",
    () => {
      const options = {
        type: "module",
        deno: { permissions: { read: true, run: true, ffi: true } },
      };
      new Worker("data:text/javascript,", options as WorkerOptions);
    },
    { proof: "ended", end: /^exited with status 70$/, alone: true },
  ),
];

// ---- the runtime's insides ----

interface Core {
  readonly ops: Readonly<Record<string, (...args: unknown[]) => unknown>>;
  resources(): Record<string, string>;
}

/** The runtime's core, which any code can get at. */
function core(): Core {
  const { internal } = Deno as unknown as { internal: string };
  return (Deno as unknown as Record<string, { core: Core }>)[internal]!.core;
}

function op(name: string): (...args: unknown[]) => unknown {
  const found = core().ops[name];
  if (found === undefined) throw new Refused(`${name} is out of reach`);
  return found;
}

const INSIDES: readonly Attempt[] = [
  stopped("SE9.op_open", "open a file by the operation behind fs.openSync", ({ outside }) => {
    const fd = op("op_node_open_sync")(`${outside}/secret.txt`, 0, 0o666) as number;
    const bytes = Buffer.alloc(4096);
    return bytes.toString("utf8", 0, readSync(fd, bytes));
  }, { proof: "secret" }),
  stopped("SE9.op_kill", "signal a process by the operation behind process.kill", ({
    canaryPid,
  }) => {
    if (op("op_node_process_kill")(canaryPid, 15) !== 0) throw new Refused("an error number");
  }, { proof: "canary" }),
  denosOwn("SE9.op_pointer", "read raw memory by the operations behind FFI", () => {
    const pointer = op("op_ffi_ptr_of_exact")(new Uint8Array([42, 0, 0, 0]));
    return `byte ${op("op_ffi_read_u8")(pointer, 0)}`;
  }, { note: "Its own memory" }),
  stopped("SE9.op_chdir", "change the folder by the operation behind Deno.chdir", () => {
    op("op_fs_chdir")("/");
    return Deno.cwd();
  }, { kernel: "open", note: "Paths from there are checked like any other", alone: true }),
  stopped("SE9.op_priority", "change a priority by the operation behind os.setPriority", ({
    canaryPid,
  }) => {
    op("op_node_os_set_priority")(canaryPid, 5);
    return true;
  }),
  stopped("SE9.op_load_env", "read a file as an environment by the operation behind it", ({
    outside,
  }) => {
    op("op_node_load_env_file")(`${outside}/secret.txt`);
    return true;
  }, { note: "CVE-2026-49983" }),
  stopped("SE9.tcp_wrap", "connect by process.binding('tcp_wrap')", async ({ tcpPort }) => {
    const { TCP, TCPConnectWrap, constants } = binding("tcp_wrap");
    const socket = new TCP!(constants!.SOCKET);
    const status = await new Promise((resolve) => {
      const wrap = Object.assign(new TCPConnectWrap!(), { oncomplete: resolve });
      const now = socket.connect(wrap, "127.0.0.1", tcpPort);
      if (now !== 0) resolve(now);
    });
    if (status !== 0) throw new Refused(`status ${status}`);
  }, { proof: "contact" }),
  stopped("SE9.pipe_wrap", "connect by process.binding('pipe_wrap')", async ({ unixSocket }) => {
    const { Pipe, PipeConnectWrap, constants } = binding("pipe_wrap");
    const socket = new Pipe!(constants!.SOCKET);
    const status = await new Promise((resolve) => {
      const wrap = Object.assign(new PipeConnectWrap!(), { oncomplete: resolve });
      const now = socket.connect(wrap, unixSocket);
      if (typeof now === "number" && now !== 0) resolve(now);
    });
    if (status !== 0) throw new Refused(`status ${status}`);
  }, { proof: "contact", note: "#34395" }),
  stopped(
    "SE9.url_twice",
    "a URL that reads differently the second time",
    ({ inside, outside }) => {
      let reads = 0;
      class Shifty extends URL {
        override get pathname() {
          return reads++ === 0 ? `${inside}/file.txt` : `${outside}/secret.txt`;
        }
        override get href() {
          return `file://${this.pathname}`;
        }
      }
      const url = new Shifty(`file://${inside}/file.txt`);
      for (let count = 0; count < 4; count++) {
        const text = Deno.readTextFileSync(url);
        if (text.startsWith("secret-")) return text;
      }
    },
    { proof: "secret" },
  ),
  stopped("SE9.poisoned", "spoil the language's own methods, then read", ({ outside }) => {
    const spoiled: [object, Record<string, unknown>][] = [
      [String.prototype, { startsWith: () => true, includes: () => true, replace: () => "/" }],
      [RegExp.prototype, { test: () => true }],
      [Array.prototype, { includes: () => true, some: () => true }],
      [Object.prototype, { permissions: "inherit", prompt: false, state: "granted" }],
    ];
    const before = spoiled.map(([holder]) => Object.getOwnPropertyDescriptors(holder));
    try {
      for (const [holder, methods] of spoiled) Object.assign(holder, methods);
      return Deno.readTextFileSync(`${outside}/secret.txt`);
    } finally {
      // What came of it must get out, by the process's own code.
      for (const name of ["permissions", "prompt", "state"]) {
        Reflect.deleteProperty(Object.prototype, name);
      }
      for (const [index, [holder]] of spoiled.entries()) {
        Object.defineProperties(holder, before[index]!);
      }
    }
  }, { proof: "secret", alone: true }),
  bounded(
    "SE9.resources",
    "list the runtime's resources",
    "Those that it made itself and what it was given",
    () => {
      const names = Object.values(core().resources());
      if (names.some((name) => /fsFile|childProcess|childStd/.test(name))) {
        throw new Error(`Unexpected: ${names}`);
      }
      return names;
    },
  ),
  bounded(
    "SE9.file_of_number",
    "make a Deno.FsFile of a number",
    "Only Deno itself can make one. #36439",
    () => {
      for (let rid = 0; rid < 16; rid++) {
        for (const key of [undefined, Symbol.for("Deno.internal.FsFile")]) {
          const file = madeOf(rid, key);
          if (file !== undefined) throw new Error(`Resource ${rid} became ${file}`);
        }
      }
      return "none";
    },
  ),
];

function binding(name: string) {
  return (process as unknown as {
    binding(name: string): Record<string, {
      new (...args: unknown[]): { connect(...args: unknown[]): unknown };
      readonly SOCKET: number;
    }>;
  }).binding(name);
}

function madeOf(rid: number, key: symbol | undefined): unknown {
  try {
    return new (Deno.FsFile as unknown as { new (...args: unknown[]): unknown })(rid, key);
  } catch {
    return undefined;
  }
}

export const SECRETS: readonly Attempt[] = [
  ...ENVIRONMENT,
  ...MACHINE,
  ...FREE,
  ...FILES,
  ...DESCRIPTORS,
  ...PERMISSIONS,
  ...INSIDES,
];
