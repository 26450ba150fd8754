/** PostgreSQL of Debian on a Unix socket, where the kernel says who a client is (`peer`); on TCP too, if asked. */
import { join } from "node:path";
import { ProcessLog } from "./process_log.ts";

/** What this takes: PostgreSQL does not run as root, and Debian's own user has a name. */
export const POSTGRES = { programs: ["psql", "setpriv", "unshare"], root: true } as const;

const AS_POSTGRES = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"];

/** Where Debian has the programs of the newest version. */
function programs(): string {
  const root = "/usr/lib/postgresql";
  const versions = [...Deno.readDirSync(root)].map(({ name }) => Number(name));
  return join(root, `${Math.max(...versions)}`, "bin");
}

async function run(...command: string[]): Promise<void> {
  const [program, ...args] = command;
  const { success, stderr } = await new Deno.Command(program!, { args, cwd: "/", stdin: "null" })
    .output();
  if (!success) throw new Error(`${command.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

export class Postgres implements AsyncDisposable {
  /** In which its socket lies. */
  readonly folder: string;
  readonly #process: ProcessLog;

  readonly #port: string;

  private constructor(folder: string, process: ProcessLog, port = 5432) {
    this.folder = folder;
    this.#port = String(port);
    this.#process = process;
  }

  /** Where a socket of a database in this folder lies. */
  static socketIn(folder: string, port = 5432): string {
    return join(folder, `.s.PGSQL.${port}`);
  }

  /**
   * Starts it, with a role for each name, none of which may do anything but connect.
   *
   * @param folder an empty one of its own, which everybody may enter
   * @param names of user ids that are in no passwd(5) file
   * @param port of loopback, where anybody may say that he is any of them
   */
  static async start(
    folder: string,
    roles: readonly string[],
    names: Readonly<Record<string, number>> = {},
    port?: number,
  ): Promise<Postgres> {
    const data = join(folder, "data");
    await run("chown", "postgres:postgres", folder);
    await run(
      ...[...AS_POSTGRES, join(programs(), "initdb"), "--pgdata", data, "--auth-local=peer"],
      "--auth-host=trust",
      ...["--no-sync", "--username=postgres"],
    );
    // What it looks names up in, for it alone.
    const passwd = join(folder, "passwd");
    const lines = Object.entries(names).map(([name, uid]) =>
      `${name}:x:${uid}:${uid}::/:/bin/false`
    );
    await Deno.writeTextFile(
      passwd,
      `${(await Deno.readTextFile("/etc/passwd")).trimEnd()}\n${lines.join("\n")}\n`,
    );
    const process = ProcessLog.spawn([
      ...["unshare", "--mount", "sh", "-c", `mount --bind ${passwd} /etc/passwd && exec "$0" "$@"`],
      ...[...AS_POSTGRES, join(programs(), "postgres"), "-D", data, "-k", folder],
      ...port === undefined ? ["-h", ""] : ["-h", "127.0.0.1", "-p", String(port)],
    ], { cwd: "/" });
    const server = new Postgres(folder, process, port);
    await process.until("the database", () => process.text.includes("ready to accept connections"));
    for (const role of roles) await server.sql(`create role "${role}" login`);
    return server;
  }

  /** Does something as the owner of all. */
  async sql(text: string): Promise<void> {
    const where = ["-h", this.folder, "-p", this.#port, "-d", "postgres"];
    await run(...AS_POSTGRES, "psql", ...where, "-c", text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its fast shutdown.
    this.#process.signal("SIGINT");
    await this.#process.ended(30_000);
    await Deno.remove(this.folder, { recursive: true });
  }
}
