/** The fixture of an audit: throw-away folders, servers and a canary process that attempts aim at. */
import { Buffer } from "node:buffer";
import { createSocket } from "node:dgram";
import { lchownSync } from "node:fs";
import * as net from "node:net";
import { basename, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Account, Unveil } from "../config/config.ts";
import type { World } from "./attempt.ts";
import { freePort } from "./free_port.ts";

/** The canary process does nothing, for longer than any audit. */
const CANARY = ["sleep", "3600"] as const;

/** The real paths that a world names. */
export type RealPaths = Pick<
  World,
  | "configFile"
  | "module"
  | "project"
  | "denoDir"
  | "denoProgram"
  | "runtime"
  | "keyFile"
  | "dialled"
>;

/** The unveils that the fixture adds to the project's own. */
const FOLDERS: readonly [name: string, rights: string][] = [
  ["inside", "rwc"],
  ["readable", "r"],
  ["writable", "w"],
  ["creatable", "c"],
  ["dropped", "rw"],
  ["temporary/own", "rwc"],
];

/** Unveiled to another process of the same config, and not to the subject. */
export type Foreign = "helper" | "worker";

/** The processes around the subject. */
export interface Neighbours {
  readonly siblingPid: number;
  readonly helperPid: number;
  readonly workerPid: number;
}

/** What the helper that the fixture adds to a config is called. */
export const FIXTURE_HELPER = "holdfast-audit";

/** Something that can be closed. */
interface Closing {
  close(): unknown;
}

export class Fixture implements AsyncDisposable {
  /** A random text that lies only outside of the subject's reach. */
  readonly secret = `secret-${crypto.randomUUID()}`;
  readonly folder: string;
  readonly #account: Account | undefined;
  readonly #servers: Closing[] = [];
  readonly #sockets = new Set<net.Socket>();
  #contacts = 0;
  #ports = { tcp: 0, udp: 0, free: 0, helper: 0, worker: 0 };
  #canary: Deno.ChildProcess | undefined;
  #nonce = 0;

  constructor(folder: string, account: Account | undefined) {
    this.folder = folder;
    this.#account = account;
  }

  /**
   * Makes a fixture in a new temporary folder.
   *
   * @param account the subject's account. It owns all files here, so that only a wall is in its way
   */
  static async create(account: Account | undefined): Promise<Fixture> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_audit_" }));
    const fixture = new Fixture(folder, account);
    await fixture.#serve();
    fixture.restore();
    fixture.#startCanary();
    return fixture;
  }

  /** The config with the fixture's folders unveiled. */
  unveils(): Unveil[] {
    return FOLDERS.map(([name, rights]) => this.#unveil(name, rights));
  }

  /** Of {@linkcode unveils}, what the subject gives up when it has opened. */
  get dropped(): string {
    return this.path("dropped");
  }

  /** What a neighbour is granted in addition. */
  foreign(whose: Foreign): { unveil: Unveil; net: string } {
    return {
      unveil: this.#unveil(`of_${whose}`, "rwc"),
      net: `127.0.0.1:${this.#ports[whose]}`,
    };
  }

  #unveil(name: string, rights: string): Unveil {
    return { path: this.path(name), rights, exists: true, folder: true };
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** What the subject is told about its surroundings. */
  world(paths: RealPaths, neighbours: Neighbours): World {
    return {
      ...paths,
      ...neighbours,
      helperName: FIXTURE_HELPER,
      helperFolder: this.path("of_helper"),
      workerFolder: this.path("of_worker"),
      helperPort: this.#ports.helper,
      workerPort: this.#ports.worker,
      folder: this.folder,
      outside: this.path("outside"),
      inside: this.path("inside"),
      readable: this.path("readable"),
      writable: this.path("writable"),
      creatable: this.path("creatable"),
      twin: this.path("inside-twin"),
      dropped: this.dropped,
      temporary: this.path("temporary/own"),
      otherTemporary: this.path("temporary/other"),
      tcpPort: this.#ports.tcp,
      udpPort: this.#ports.udp,
      freePort: this.#ports.free,
      unixSocket: this.path("servers/canary.sock"),
      insideSocket: this.path("inside/canary.sock"),
      abstractSocket: this.#abstractName(),
      canaryPid: this.#canary!.pid,
      supervisorPid: Deno.pid,
      supervisorThreads: Array.from(
        Deno.readDirSync("/proc/self/task"),
        ({ name }) => Number(name),
      ),
      nonce: `nonce-${++this.#nonce}`,
    };
  }

  /** Which of these processes hold a file that the subject has made in its own folder. */
  holders(pids: readonly number[]): number[] {
    return pids.filter((pid) =>
      descriptorsOf(pid).some((path) => path.startsWith(this.path("inside/nonce-")))
    );
  }

  /** How often a canary server was spoken to. */
  get contacts(): number {
    return this.#contacts;
  }

  /** Whether the canary runs, undisturbed. */
  get canaryRuns(): boolean {
    try {
      const text = Deno.readTextFileSync(`/proc/${this.#canary!.pid}/stat`);
      return /^[RSD]$/.test(text.slice(text.lastIndexOf(")") + 2)[0]!);
    } catch {
      return false;
    }
  }

  /** Everything that the subject must leave alone, as a text that changes with any of it. */
  fingerprint(): string {
    const own = [this.path("inside"), this.path("temporary/own")];
    return JSON.stringify(
      [...walk(this.folder)].filter(({ path }) =>
        !own.some((folder) => path === folder || path.startsWith(`${folder}/`))
      ),
    );
  }

  /** Puts everything back, after an attempt that changed something. */
  restore(): void {
    const foreign = ["of_helper", "of_worker", "temporary/other"];
    for (const name of ["outside", "inside-twin", ...foreign, ...FOLDERS.map(([name]) => name)]) {
      this.#empty(name);
    }
    const write = (path: string, text: string) => Deno.writeTextFileSync(this.path(path), text);
    write("outside/secret.txt", this.secret);
    write("outside/secret.json", JSON.stringify({ secret: this.secret }));
    write("outside/secret.mjs", `export default ${JSON.stringify(this.secret)};`);
    write("outside/file.txt", "outside");
    Deno.mkdirSync(this.path("outside/folder"));
    write("outside/folder/file.txt", "outside");
    write("outside/.env", `SECRET=${this.secret}`);
    // A source map that gives its secret as the name of a source.
    write(
      "outside/secret.map",
      JSON.stringify({ version: 3, sources: [this.secret], names: [], mappings: "AAAA;AAAA" }),
    );
    Deno.mkdirSync(this.path("outside/node_modules/package"), { recursive: true });
    write("outside/node_modules/package/index.json", JSON.stringify({ secret: this.secret }));
    write("inside-twin/secret.txt", this.secret);
    const database = new DatabaseSync(this.path("outside/secret.db"));
    database.exec(`CREATE TABLE secrets (text); INSERT INTO secrets VALUES ('${this.secret}')`);
    database.close();
    for (const name of [...foreign, "dropped"]) write(`${name}/secret.txt`, this.secret);
    for (const name of [...foreign, ...FOLDERS.map(([name]) => name)]) {
      write(`${name}/file.txt`, name);
    }
    for (
      const [name, target] of [
        ["link", this.path("outside/secret.txt")],
        ["relative_link", "../outside/secret.txt"],
        ["folder_link", this.path("outside")],
        ["write_link", this.path("outside/file.txt")],
        ["proc_link", "/proc/self/environ"],
        ["socket_link", this.path("servers/canary.sock")],
      ] as const
    ) Deno.symlinkSync(target, this.path(`inside/${name}`));
    this.#listenInside();
    if (this.#account) { for (const { path } of [...walk(this.folder)]) this.#give(path); }
    if (this.#canary && !this.canaryRuns) this.#startCanary();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    for (const server of this.#servers) server.close();
    this.#inside?.close();
    this.#endCanary();
    await Deno.remove(this.folder, { recursive: true });
  }

  #give(path: string): void {
    const { uid, gid } = this.#account!;
    lchownSync(path, uid, gid);
  }

  /** The folder itself stays: an unveil is about it and not about its name. */
  #empty(name: string): void {
    const folder = this.path(name);
    try {
      Deno.lstatSync(folder);
    } catch {
      Deno.mkdirSync(folder, { recursive: true });
    }
    for (const entry of Deno.readDirSync(folder)) {
      // The canary listens there.
      if (entry.name === "canary.sock") continue;
      Deno.removeSync(join(folder, entry.name), { recursive: true });
    }
  }

  #abstractName(): string {
    return basename(this.folder);
  }

  #inside: net.Server | undefined;

  #listenInside(): void {
    const path = this.path("inside/canary.sock");
    try {
      if (Deno.lstatSync(path)) return;
    } catch {
      this.#inside?.close();
      this.#inside = this.#counting();
      this.#inside.listen(path);
    }
  }

  #counting(): net.Server {
    const server = net.createServer((socket) => {
      this.#contacts++;
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      // An answer for HTTP clients.
      socket.end("HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\ncanary");
    });
    server.on("error", () => {});
    return server;
  }

  async #serve(): Promise<void> {
    const [tcp, helper, worker] = [this.#counting(), this.#counting(), this.#counting()];
    for (const server of [tcp, helper, worker]) {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    }
    Deno.mkdirSync(this.path("servers"));
    const unix = this.#counting();
    await new Promise<void>((resolve) => unix.listen(this.path("servers/canary.sock"), resolve));
    const abstract = this.#counting();
    await new Promise<void>((resolve) => abstract.listen(`\0${this.#abstractName()}`, resolve));
    const udp = createSocket("udp4", () => void this.#contacts++);
    await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", resolve));
    const portOf = (server: net.Server) => (server.address() as net.AddressInfo).port;
    this.#ports = {
      tcp: portOf(tcp),
      helper: portOf(helper),
      worker: portOf(worker),
      udp: udp.address().port,
      free: freePort(),
    };
    this.#servers.push(tcp, helper, worker, unix, abstract, udp);
  }

  #startCanary(): void {
    this.#endCanary();
    const [program, ...args] = CANARY;
    this.#canary = new Deno.Command(program, {
      args,
      env: { CANARY_SECRET: this.secret },
      ...this.#account && { uid: this.#account.uid, gid: this.#account.gid },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
  }

  #endCanary(): void {
    const canary = this.#canary;
    this.#canary = undefined;
    try {
      canary?.kill("SIGKILL");
    } catch {
      // The subject has ended it.
    }
    void canary?.status;
  }
}

/** Where the descriptors of a process lead. */
function descriptorsOf(pid: number): string[] {
  return Array.from(Deno.readDirSync(`/proc/${pid}/fd`), ({ name }) => {
    try {
      return Deno.readLinkSync(`/proc/${pid}/fd/${name}`);
    } catch {
      // Closed meanwhile.
      return "";
    }
  });
}

interface Entry {
  readonly path: string;
  readonly facts: ReturnType<typeof lookAt>;
}

function* walk(path: string): Generator<Entry> {
  const facts = lookAt(path);
  yield { path, facts };
  for (const name of facts.isFolder ? namesIn(path) : []) yield* walk(join(path, name));
}

/** What an attempt that goes on moves away meanwhile is another thing than it was. */
function unlessMoved<T>(look: () => T, moved: T): T {
  try {
    return look();
  } catch {
    return moved;
  }
}

function namesIn(folder: string): string[] {
  return unlessMoved(() => [...Deno.readDirSync(folder)].map(({ name }) => name).sort(), []);
}

function lookAt(path: string) {
  return unlessMoved(() => {
    const found = Deno.lstatSync(path);
    const { isFile, isSymlink, isDirectory, ino, size, mode, uid, gid, nlink } = found;
    const content = isFile
      ? Buffer.from(Deno.readFileSync(path)).toString("base64")
      : isSymlink
      ? Deno.readLinkSync(path)
      : null;
    // The time of the last change of status shows what no other field does: an attribute, a flag.
    const times = [found.mtime?.getTime(), found.ctime?.getTime()];
    const all = [ino, isFile ? size : 0, mode, uid, gid, nlink, times, content];
    return { isFolder: isDirectory, all };
  }, { isFolder: false, all: [] });
}
