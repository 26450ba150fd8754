/** Starting programs, and loading native code. */
import * as child from "node:child_process";
import cluster from "node:cluster";
import { once } from "node:events";
import { closeSync, openSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import type { Readable } from "node:stream";
import { promisify } from "node:util";
import v8 from "node:v8";
import { runInNewContext } from "node:vm";
import { WASI } from "node:wasi";
import { Worker as NodeWorker } from "node:worker_threads";
import type { Attempt, World } from "../attempt.ts";
import {
  answerCode,
  type Call,
  image,
  inChild,
  runFromFile,
  runFromMemory,
  runFromWritableMemory,
  runOldCall,
  THE_ANSWER,
  vector,
} from "../machine_code.ts";
import { AT_FDCWD, call, groupOf, must, reaches, Refused } from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

/** A program that everybody has and that shows a file. */
const SHOW = "/bin/cat";
const SHELL = "/bin/sh";

/** What every attempt of this area is, unless it says otherwise. */
const USUAL = { area: "execute", deno: "stops", kernel: "stops" } as const;

/** An attempt to start a program that fetches what the subject itself may not read. */
function starts(
  id: string,
  title: string,
  run: Attempt["run"],
  more: Partial<Attempt> = {},
): Attempt {
  return { ...USUAL, id, title, proof: "secret", ...more, run };
}

/** An attempt to become another program, which leaves a file where the subject may not. */
function becomes(id: string, title: string, run: Attempt["run"]): Attempt {
  const runOpen: Attempt["run"] = (world) => {
    keepDescriptorsOpen();
    return run(world);
  };
  return { ...USUAL, id, title, proof: "change", alone: true, run: runOpen };
}

/** The connection to the auditor is to end with the other program, and not when that begins. */
function keepDescriptorsOpen(): void {
  const F_SETFD = 2;
  for (let fd = 3; fd < 128; fd++) call("fcntl", fd, F_SETFD, 0);
}

/** An attempt of which only the subject can tell what came of it. */
function claim(
  id: string,
  title: string,
  run: Attempt["run"],
  more: Partial<Attempt> = {},
): Attempt {
  return { ...USUAL, id, title, proof: "claim", ...more, run };
}

/** The same, where the kernel has nothing against it. */
function loads(id: string, title: string, run: Attempt["run"], more: Partial<Attempt> = {}) {
  const note = "code that the worker brings stays behind the wall like its other code";
  return claim(id, title, run, { kernel: "open", note, ...more });
}

/** The same, of a file: no file becomes code any more in a process that has started. */
function maps(id: string, title: string, run: Attempt["run"], more: Partial<Attempt> = {}) {
  return claim(id, title, run, {
    openWith: "libraries",
    note: "where libraries are loaded, code that the worker brings stays behind the wall",
    refusal: /failed to map segment|cannot open shared object/,
    ...more,
  });
}

const secretOf = (world: World) => `${world.outside}/secret.txt`;
const showing = (world: World) => `${SHOW} '${secretOf(world)}'`;
const leaving = (world: World) => `echo executed > '${world.outside}/executed'`;
const denoLeaving = (world: World) =>
  `Deno.writeTextFileSync(${JSON.stringify(`${world.outside}/executed`)}, "")`;
const denoShowing = (world: World) =>
  `Deno.stdout.writeSync(Deno.readFileSync(${JSON.stringify(secretOf(world))}))`;

const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** What a program printed, if it did well. */
function printed({ success, stdout, stderr }: Deno.CommandOutput): string {
  if (!success) throw new Error(`The program failed: ${decode(stderr)}`);
  return decode(stdout);
}

/** What a program of Node's printed. */
function printedSync({ error, stdout, stderr }: child.SpawnSyncReturns<Uint8Array>): string {
  if (error) throw error;
  // That is how Deno puts it when it may not, or could not, start anything.
  if (stdout === undefined) throw new Refused("It returned nothing at all");
  if (stdout.length === 0) throw new Error(`The program failed: ${decode(stderr)}`);
  return decode(stdout);
}

async function gather(started: child.ChildProcess): Promise<string> {
  let text = "";
  const { stdout } = started as child.ChildProcess & { stdout: Readable };
  stdout.on("data", (chunk) => text += chunk);
  await once(started, "close");
  return text;
}

/** Writes a program into the unveiled folder, where whoever may create may make it executable. */
function plant(world: World, name: string, content: string | Uint8Array<ArrayBuffer>): string {
  const path = `${world.inside}/${name}`;
  // Its mode comes with its making: chmod(2) is refused, which is not what is tried here.
  const fd = openSync(path, "w", 0o755);
  writeSync(fd, typeof content === "string" ? new TextEncoder().encode(content) : content);
  closeSync(fd);
  return path;
}

/** Code of Node that starts a program and returns what it printed. */
const inNode = (world: World) =>
  `require("node:child_process").execFileSync("${SHOW}", ["${
    secretOf(world)
  }"], {encoding: "utf8"})`;

const DENO: readonly Attempt[] = [
  starts(
    "EX1.output",
    "Deno.Command",
    async (world) => printed(await new Deno.Command(SHOW, { args: [secretOf(world)] }).output()),
  ),
  starts(
    "EX1.output_sync",
    "Deno.Command, synchronously",
    (world) => printed(new Deno.Command(SHOW, { args: [secretOf(world)] }).outputSync()),
  ),
  starts("EX1.spawn", "Deno.Command in the background", async (world) => {
    const args = [secretOf(world)];
    const started = new Deno.Command(SHOW, { args, stdout: "piped", stderr: "piped" }).spawn();
    return printed(await started.output());
  }),
  starts(
    "EX1.detached",
    "Deno.Command in a new process group",
    async (world) =>
      printed(await new Deno.Command(SHOW, { args: [secretOf(world)], detached: true }).output()),
  ),
  starts("EX1.request", "Deno.Command after asking for the permission", async (world) => {
    await Deno.permissions.request({ name: "run", command: SHOW });
    return printed(await new Deno.Command(SHOW, { args: [secretOf(world)] }).output());
  }),
  starts(
    "EX1.web_worker",
    "Deno.Command in a Web Worker",
    (world) =>
      inWebWorker(async ([program, path]) => {
        const { stdout } = await new Deno.Command(program, { args: [path] }).output();
        return new TextDecoder().decode(stdout);
      }, [SHOW, secretOf(world)] as const),
  ),
  starts(
    "EX1.other_user",
    "Deno.Command with a user to become",
    async (world) =>
      printed(await new Deno.Command(SHOW, { args: [secretOf(world)], uid: Deno.uid()! }).output()),
  ),
  starts("EX2.preload", "Deno.Command with a library to load first", async (world) => {
    const LD_PRELOAD = plant(world, "preloaded.so", image());
    const env = { LD_PRELOAD };
    return printed(await new Deno.Command(SHOW, { args: [secretOf(world)], env }).output());
  }),
  starts("EX2.script", "a script that the worker has written", async (world) => {
    const path = plant(world, "script", `#!${SHELL}\n${showing(world)}\n`);
    return printed(await new Deno.Command(path).output());
  }),
  claim("EX2.program", "a program that the worker has written", async (world) => {
    const { code } = await new Deno.Command(plant(world, "program", image())).output();
    return code === THE_ANSWER;
  }),
  starts("EX5.deno", "Deno itself with every permission", async (world) => {
    const args = ["eval", denoShowing(world)];
    return printed(await new Deno.Command(world.denoProgram, { args }).output());
  }),
];

/** Node's two newer functions that Deno has under its own name. */
type Newer = Record<
  "spawnAndWait" | "spawnAndWaitSync",
  (program: string, args: string[]) => Deno.CommandOutput | Promise<Deno.CommandOutput>
>;

const NEWER: readonly Attempt[] = (["spawnAndWait", "spawnAndWaitSync"] as const)
  .filter((name) => name in Deno)
  .map((name) =>
    starts(
      `EX1.deno_${name}`,
      `Deno.${name}`,
      async (world) => printed(await (Deno as unknown as Newer)[name](SHOW, [secretOf(world)])),
    )
  );

/** Deno's execFileSync does not say why. */
const SWALLOWED = { refusal: /^Command failed: \/bin\/cat/ };

const NODE: readonly Attempt[] = [
  starts(
    "EX1.node_spawn",
    "spawn of Node",
    (world) => gather(child.spawn(SHOW, [secretOf(world)])),
  ),
  starts(
    "EX1.node_shell",
    "spawn of Node by a shell",
    (world) => gather(child.spawn(showing(world), { shell: true })),
  ),
  starts(
    "EX1.node_detached",
    "spawn of Node in a new session",
    (world) => gather(child.spawn(SHOW, [secretOf(world)], { detached: true })),
  ),
  starts(
    "EX1.node_exec",
    "exec of Node",
    async (world) => (await promisify(child.exec)(showing(world))).stdout,
  ),
  starts(
    "EX1.node_exec_file",
    "execFile of Node",
    async (world) => (await promisify(child.execFile)(SHOW, [secretOf(world)])).stdout,
  ),
  starts(
    "EX1.node_spawn_sync",
    "spawnSync of Node",
    (world) => printedSync(child.spawnSync(SHOW, [secretOf(world)])),
  ),
  starts(
    "EX1.node_exec_sync",
    "execSync of Node",
    (world) => decode(child.execSync(showing(world))),
    SWALLOWED,
  ),
  starts(
    "EX1.node_exec_file_sync",
    "execFileSync of Node",
    (world) => decode(child.execFileSync(SHOW, [secretOf(world)])),
    SWALLOWED,
  ),
  starts("EX1.node_fork", "fork of Node", async (world) => {
    const module = plant(world, "forked.cjs", `process.send(${inNode(world)})`);
    const forked = child.fork(module, { silent: true });
    const failed = once(forked, "exit").then(() => Promise.reject(new Error("It said nothing")));
    failed.catch(() => {});
    const [said] = await Promise.race([once(forked, "message"), failed]);
    forked.kill();
    return said;
  }),
  starts("EX1.node_worker", "execFileSync of Node in a worker thread of Node", async (world) => {
    const worker = new NodeWorker(
      `const { parentPort } = require("node:worker_threads");
       try { parentPort.postMessage({ done: ${inNode(world)} }) }
       catch ({ name, message }) { parentPort.postMessage({ name, message }) }`,
      { eval: true },
    );
    const [{ done, ...failure }] = await once(worker, "message");
    await worker.terminate();
    if (done === undefined) throw Object.assign(new Error(failure.message), failure);
    return done;
  }, SWALLOWED),
  starts("EX1.cluster", "cluster.fork of Node", async (world) => {
    const exec = plant(world, "member.cjs", `process.send(${inNode(world)})`);
    cluster.setupPrimary({ exec, silent: true });
    const member = cluster.fork();
    const [said] = await once(member, "message").finally(() => member.process.kill());
    return said;
  }, { alone: true }),
];

/** A module without a start, but with a memory. */
const MEMORY_MODULE = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 5, 3, 1, 0, 1],
  ...[7, 24, 2, 6, ...new TextEncoder().encode("memory"), 2, 0],
  ...[11, ...new TextEncoder().encode("_initialize"), 0, 0, 10, 4, 1, 2, 0, 11],
);

/** What WASI offers to its modules, as far as it is used here. */
interface Wasi {
  path_open(fd: number, ...args: (number | bigint)[]): number;
  fd_read(fd: number, vectors: number, count: number, read: number): number;
}

/** Reads a file as a module of WebAssembly would that was given everything. */
function readByWasi(path: string): string {
  const wasi = new WASI({ version: "preview1", preopens: { "/": "/" } });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(MEMORY_MODULE));
  wasi.initialize(instance);
  const memory = (instance.exports["memory"] as WebAssembly.Memory).buffer;
  const { path_open, fd_read } = wasi.wasiImport as unknown as Wasi;
  const view = new DataView(memory);
  const relative = new TextEncoder().encode(path.slice(1));
  new Uint8Array(memory).set(relative, 1024);
  const all = 0x1fffffffn;
  const opened = path_open(3, 0, 1024, relative.length, 0, all, all, 0, 512);
  // WASI numbers its errors itself: these are EACCES, ENOTCAPABLE and EPERM.
  if ([2, 76, 63].includes(opened)) throw new Refused(`path_open: ${opened}`);
  if (opened !== 0) throw new Error(`path_open: ${opened}`);
  view.setUint32(520, 2048, true);
  view.setUint32(524, 4096, true);
  const read = fd_read(view.getUint32(512, true), 520, 1, 528);
  if (read !== 0) throw new Error(`fd_read: ${read}`);
  return decode(new Uint8Array(memory, 2048, view.getUint32(528, true)));
}

/** Loads a planted library as a module of Node. */
function loadModule(world: World): string {
  return typeof createRequire(`${world.inside}/`)(plant(world, "module.node", image()));
}

interface Internals {
  readonly core: { readonly ops: Record<string, (argument: bigint) => unknown> };
}

const LOADING: readonly Attempt[] = [
  loads("EX3.library", "Deno.dlopen of a library of the system", () => {
    const library = Deno.dlopen("libc.so.6", { getppid: { parameters: [], result: "i32" } });
    return library.symbols.getppid();
  }),
  maps("EX3.planted_library", "Deno.dlopen of a library that the worker has written", (world) => {
    const symbols = { answer: { parameters: [], result: "i32" } } as const;
    return Deno.dlopen(plant(world, "library.so", image()), symbols).symbols.answer();
  }),
  maps("EX3.require", "require of a native module that the worker has written", loadModule, {
    note:
      "CVE-2022-24783; where libraries are loaded, what the worker brings stays behind the wall",
  }),
  maps("EX3.process_dlopen", "process.dlopen of a native module", (world) => {
    const module = { exports: {} };
    process.dlopen(module, plant(world, "opened.node", image()));
    return typeof module.exports;
  }),
  maps("EX3.extension", "an extension for SQLite", (world) => {
    const path = plant(world, "extension.so", image());
    using database = new DatabaseSync(":memory:", { allowExtension: true });
    database.loadExtension(path);
    return "loaded";
  }),
  loads("EX3.pointer", "a pointer to anywhere", () => typeof Deno.UnsafePointer.create(4096n)),
  loads("EX3.operation", "the same by the runtime's operation under it", () => {
    const { core } = (Deno as unknown as Record<symbol, Internals>)[
      (Deno as unknown as { internal: symbol }).internal
    ]!;
    return typeof core.ops["op_ffi_ptr_create"]!(4096n);
  }),
  loads(
    "EX3.web_worker",
    "Deno.dlopen in a Web Worker",
    () => inWebWorker((name) => typeof Deno.dlopen(name, {}), "libc.so.6"),
  ),
  loads("EX8.memory", "machine code in memory", runFromMemory, { closedWith: "jitless" }),
  loads(
    "EX8.writable_memory",
    "machine code in memory that stays writable",
    runFromWritableMemory,
    { closedWith: "jitless" },
  ),
  maps("EX8.file", "machine code from a file that the worker has written", (world) => {
    return runFromFile(must("openat", AT_FDCWD, plant(world, "code", answerCode()), 0, 0));
  }),
  starts(
    "EX10.wasi",
    "a module of WebAssembly that was given the whole file system",
    (world) => readByWasi(secretOf(world)),
    { refusal: /failed to open preopen/ },
  ),
  claim("EX13.flags", "changing the engine's flags", () => {
    v8.setFlagsFromString("--expose-gc");
    return runInNewContext("typeof gc") === "function";
  }, {
    deno: "contained",
    kernel: "contained",
    note: "no permission is asked for; it changes only the worker's own engine",
    alone: true,
  }),
];

const O_PATH = 0x200000;
const AT_EMPTY_PATH = 0x1000;
const LOADER = Deno.build.arch === "x86_64"
  ? "/lib64/ld-linux-x86-64.so.2"
  : "/lib/ld-linux-aarch64.so.1";

const shellArguments = (world: World) => vector([SHELL, "-c", leaving(world)]);
const denoArguments = (world: World) => vector(["deno", "eval", denoLeaving(world)]);
const denoEnvironment = ({ denoDir }: World) => vector([`DENO_DIR=${denoDir}`]);

/** Has a thread that JavaScript does not run on make the call. */
async function fromOtherThread(world: World): Promise<unknown> {
  const library = Deno.dlopen("libc.so.6", {
    execve: {
      parameters: ["buffer", "buffer", "pointer"],
      result: "i32",
      nonblocking: true,
    },
  });
  const path = new TextEncoder().encode(`${SHELL}\0`);
  const result = await library.symbols.execve(path, shellArguments(world), null);
  // The error's number is that thread's own; a file that is there gives no other.
  throw new Refused(`execve returned ${result}`);
}

const BECOMING: readonly Attempt[] = [
  becomes(
    "EX4.shell",
    "execve(2) of a shell",
    (world) => must("execve", SHELL, shellArguments(world), 0),
  ),
  becomes(
    "EX4.self",
    "execve(2) of /proc/self/exe",
    (world) => must("execve", "/proc/self/exe", denoArguments(world), denoEnvironment(world)),
  ),
  becomes(
    "EX4.loader",
    "execve(2) of the dynamic loader, which is to load a shell",
    (world) => must("execve", LOADER, vector([LOADER, SHELL, "-c", leaving(world)]), 0),
  ),
  becomes("EX4.script", "execve(2) of a script that the worker has written", (world) => {
    const path = plant(world, "script", `#!${SHELL}\n${leaving(world)}\n`);
    return must("execve", path, vector([path]), 0);
  }),
  becomes(
    "EX4.at",
    "execveat(2) of a shell",
    (world) => must("execveat", AT_FDCWD, SHELL, shellArguments(world), 0, 0),
  ),
  becomes("EX4.descriptor", "execveat(2) of a descriptor that may not be read", (world) => {
    const fd = must("openat", AT_FDCWD, SHELL, O_PATH, 0);
    return must("execveat", fd, "", shellArguments(world), 0, AT_EMPTY_PATH);
  }),
  becomes("EX4.deno_descriptor", "the same of Deno, which must be readable", (world) => {
    const fd = must("openat", AT_FDCWD, world.denoProgram, 0, 0);
    return must("execveat", fd, "", denoArguments(world), denoEnvironment(world), AT_EMPTY_PATH);
  }),
  becomes("EX4.memory", "execveat(2) of a file in memory", (world) => {
    const fd = must("memfd_create", "script", 0);
    const text = new TextEncoder().encode(`#!${SHELL}\n${leaving(world)}\n`);
    must("write", fd, text, text.length);
    return must("execveat", fd, "", vector(["script"]), 0, AT_EMPTY_PATH);
  }),
  becomes("EX4.temporary_file", "execveat(2) of a file without a name", (world) => {
    const O_TMPFILE = Deno.build.arch === "x86_64" ? 0o20200000 : 0o20040000;
    const fd = must("openat", AT_FDCWD, world.inside, O_TMPFILE | 2, 0o700);
    const text = new TextEncoder().encode(`#!${SHELL}\n${leaving(world)}\n`);
    must("write", fd, text, text.length);
    // A file that is open for writing is not executed.
    const readable = must("openat", AT_FDCWD, `/proc/self/fd/${fd}`, 0, 0);
    must("close", fd);
    return must("execveat", readable, "", vector(["script"]), 0, AT_EMPTY_PATH);
  }),
  becomes("EX4.disguised", "execve(2) under a name that looks like the supervisor's child's", (
    world,
  ) => {
    const PR_SET_NAME = 15;
    // As proc_pid_stat(5) would go on after the name: its state, its parent, its group.
    const group = groupOf(world.supervisorPid);
    must("prctl", PR_SET_NAME, `) S ${world.supervisorPid} ${group} (`, 0, 0, 0);
    return must("execve", SHELL, shellArguments(world), 0);
  }),
  becomes("EX4.other_thread", "execve(2) from another thread", fromOtherThread),
  becomes(
    "EX5.native",
    "execve(2) of Deno with every permission",
    (world) => must("execve", world.denoProgram, denoArguments(world), denoEnvironment(world)),
  ),
];

const SIGCHLD = 17;
const CLONE_VM = 0x100;
const CLONE_SIGHAND = 0x800;
const CLONE_VFORK = 0x4000;
const CLONE_PARENT = 0x8000;

/** A fork as fork(3) makes it. */
const FORK: Call = ["clone", SIGCHLD];
const NOTHING: Call = ["close", -1];

const executing = (world: World): Call => ["execve", SHELL, shellArguments(world), 0];

/** Flags that a kernel refuses for what they are together, as soon as it looks at them. */
const clones = (flags: number) => reaches("clone", flags | CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0);

const NAMESPACES: readonly [name: string, flag: number][] = [
  ["user", 0x10000000],
  ["mount", 0x00020000],
  ["process", 0x20000000],
  ["network", 0x40000000],
];

const FORKING: readonly Attempt[] = [
  claim("EX7.fork", "a fork", () => `exited with ${inChild(FORK, NOTHING)}`),
  becomes(
    "EX7.fork_execute",
    "a fork that becomes a shell",
    (world) => inChild(FORK, executing(world)),
  ),
  becomes(
    "EX7.fork_deno",
    "a fork that becomes Deno with every permission",
    (world) =>
      inChild(FORK, ["execve", world.denoProgram, denoArguments(world), denoEnvironment(world)]),
  ),
  claim(
    "EX7.fork_program",
    "a fork that becomes a program that the worker has written",
    (world) => {
      const path = plant(world, "program", image());
      return inChild(FORK, ["execve", path, vector([path]), 0]) === THE_ANSWER;
    },
  ),
  claim(
    "EX7.fork_session",
    "a fork in a new session",
    () => `exited with ${inChild(FORK, ["setsid"])}`,
  ),
  claim(
    "EX7.fork_group",
    "a fork in a new process group",
    () => `exited with ${inChild(FORK, ["setpgid", 0, 0])}`,
  ),
  claim(
    "EX7.fork_supervisor_group",
    "a fork in the supervisor's group, from which one may execute",
    (
      { supervisorPid },
    ) => {
      const group = groupOf(supervisorPid);
      return `exited with ${inChild(FORK, ["setpgid", 0, group])}`;
    },
  ),
  claim(
    "EX7.fork_read",
    "a fork that opens what the worker may not",
    (world) => `exited with ${inChild(FORK, ["openat", AT_FDCWD, secretOf(world), 0, 0])}`,
  ),
  becomes(
    "EX7.shared_fork",
    "a fork that shares the memory, and becomes a shell",
    (world) => inChild(["clone", CLONE_VM | CLONE_VFORK | SIGCHLD], executing(world)),
  ),
  claim(
    "EX7.shared_memory",
    "a process that shares the worker's memory",
    () => `exited with ${inChild(["clone", CLONE_VM | SIGCHLD], NOTHING)}`,
  ),
  ...Deno.build.arch !== "x86_64" ? [] : [
    claim(
      "EX12.old_call",
      "a call by the 32-bit interface, which numbers its calls otherwise",
      runOldCall,
      { alone: true, fatal: true },
    ),
    becomes("EX7.old_fork", "fork(2), and a shell", (world) => inChild(["fork"], executing(world))),
    becomes(
      "EX7.old_vfork",
      "vfork(2), and a shell",
      (world) => inChild(["vfork"], executing(world)),
    ),
  ],
  claim("EX7.clone3", "clone3(2), whose flags no filter sees", () => reaches("clone3", 0, 0)),
  claim(
    "EX7.supervisors_child",
    "a process that is the supervisor's child",
    () => clones(CLONE_PARENT),
  ),
  ...NAMESPACES.map(([name, flag]) =>
    claim(
      `EX7.${name}_namespace`,
      `a process in a ${name} namespace`,
      () => clones(flag),
    )
  ),
  claim("EX11.new_privileges", "privileges by a program that has more than its caller", () => {
    const PR_GET_NO_NEW_PRIVS = 39;
    if (must("prctl", PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) === 1) {
      throw new Refused("no_new_privs is set");
    }
    return "no_new_privs is not set";
  }),
];

export const EXECUTING: readonly Attempt[] = [
  ...DENO,
  ...NEWER,
  ...NODE,
  ...LOADING,
  ...BECOMING,
  ...FORKING,
];
