/** A server on a Unix socket in a folder of its own, which everybody may enter. */
import { join } from "node:path";
import { ProcessLog } from "./process_log.ts";
import { readStatus } from "./process.ts";
import { Project, type ProjectOptions, REPOSITORY } from "./project.ts";
import type { Server } from "./server.ts";

/** What this takes. */
export const UNIX_SERVER = { programs: ["python3"] } as const;

/** Who a client is, as the kernel tells the server. */
export interface Peer {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** How many other groups it has. */
  readonly groups: number;
}

export interface UnixServerOptions {
  /** Where the socket lies, instead of a folder of its own. */
  readonly path?: string;
  readonly mode?: number;
  /** Whether it accepts nobody before {@link UnixServer.accept}. */
  readonly holds?: boolean;
}

export class UnixServer implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;
  readonly #process: ProcessLog<Peer>;
  readonly #stdin: WritableStreamDefaultWriter | undefined;

  private constructor(path: string, folder: string, process: ProcessLog<Peer>, holds: boolean) {
    this.path = path;
    this.#folder = folder;
    this.#process = process;
    this.#stdin = holds ? process.child.stdin.getWriter() : undefined;
  }

  static async start(
    { path, mode = 0o777, holds = false }: UnixServerOptions = {},
  ): Promise<UnixServer> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_socket_" }));
    await Deno.chmod(folder, 0o755);
    const place = path ?? join(folder, "echo.sock");
    const program = join(REPOSITORY, "tests/doubles/unix_server.py");
    const args = [place, mode.toString(8), ...holds ? ["hold"] : []];
    const process = ProcessLog.spawn<Peer>(["python3", program, ...args], {
      reads: "stdout",
      stdin: holds ? "piped" : "null",
    });
    await process.until("the server", () => process.text.includes("ready"));
    return new UnixServer(place, folder, process, holds);
  }

  /** The clients so far. */
  get peers(): readonly Peer[] {
    return this.#process.events;
  }

  /** Accepts from here on. */
  async accept(): Promise<void> {
    await this.#stdin?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.child.kill("SIGKILL");
    await this.#process.child.status;
    await this.#stdin?.abort().catch(() => {});
    await Deno.remove(this.#folder, { recursive: true });
    await Deno.remove(this.path).catch(() => {});
  }
}

/** Connects by the path in the query, and answers with what it is told first; `/node`, by `node:net`. */
export const DIALLING = `
import net from "node:net";
async function first(path) {
  using connection = await Deno.connect({ transport: "unix", path });
  const buffer = new Uint8Array(256);
  return new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer)));
}
function firstByNode(path) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(path);
    socket.on("error", reject);
    socket.on("data", (data) => {
      resolve(data.toString());
      socket.destroy();
    });
  });
}
async function answer(url) {
  const path = url.searchParams.get("path");
  try {
    return Response.json({ ok: JSON.parse(await (url.pathname === "/node" ? firstByNode : first)(path)) });
  } catch (error) {
    return Response.json({ denied: error.name, message: error.message });
  }
}`;

export const DIALLING_APP = `${DIALLING}
export default { fetch: (request) => answer(new URL(request.url)) };`;

/** What came of it. */
export interface Told {
  readonly ok?: Peer;
  readonly denied?: string;
  readonly message?: string;
}

/** Has {@link DIALLING_APP} connect. */
export async function ask(server: Server, path: string, route = "/deno"): Promise<Told> {
  return JSON.parse(await server.text(`${route}?path=${encodeURIComponent(path)}`));
}

/** Who a process is to the kernel. */
export function idsOf(pid: number): Pick<Peer, "uid" | "gid"> {
  const { Uid, Gid } = readStatus(pid)!;
  return { uid: Number(Uid!.split("\t")[1]), gid: Number(Gid!.split("\t")[1]) };
}

/** A project that every account may enter. */
export async function openProject(options: ProjectOptions): Promise<Project> {
  const project = await Project.create(options);
  await Deno.chmod(project.folder, 0o755);
  return project;
}
