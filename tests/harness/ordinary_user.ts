/** Supervisors of an ordinary user whom nobody else on this machine is: what is counted by user is its own. */
import { join } from "node:path";
import { bundle } from "../../lib/planner/bundle.ts";
import { ENTRIES } from "../../lib/planner/programs.ts";
import { HOLDFAST, Project, type ProjectOptions } from "./project.ts";
import { Server, supervisorPermissions } from "./server.ts";

/** No account has it: the name of an account is nothing that the kernel knows. */
const FIRST_UID = 61_000;

export class OrdinaryUser implements AsyncDisposable {
  readonly uid = FIRST_UID + Deno.pid % 1_000;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Gives it a deno program, and caches with what Holdfast needs. Only root can. */
  static async create(): Promise<OrdinaryUser> {
    const user = new OrdinaryUser(await Deno.makeTempDir({ prefix: "holdfast_user_" }));
    const folder = user.#folder;
    await Deno.copyFile(Deno.execPath(), user.#program);
    const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] })
      .output();
    const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
    // On a fresh machine the bundler is fetched by the first bundle, which may be this one.
    await bundle(folder, ENTRIES.worker);
    await Deno.mkdir(join(folder, "dir"));
    for (const name of ["npm", "dl"]) {
      await run("cp", "-r", join(denoDir, name), join(folder, "dir"));
    }
    await run("chmod", "-R", "a+rX", folder);
    await user.#own(folder);
    return user;
  }

  get #program(): string {
    return join(this.#folder, "deno");
  }

  /** Starts a project as this user. */
  async start(
    { entry, limit, ...options }: ProjectOptions & {
      readonly entry?: readonly string[];
      /** How many files it may have open. */
      readonly limit?: number;
    },
  ): Promise<Server> {
    const project = await Project.create(options);
    await Deno.chmod(project.folder, 0o755);
    await this.#own(project.folder);
    const permissions = supervisorPermissions(project).map((permission) =>
      permission.startsWith("--allow-run=") ? `--allow-run=${this.#program}` : permission
    );
    const program = entry ?? [join(HOLDFAST, "main.ts"), "start", "--config"];
    const process = new Deno.Command("prlimit", {
      args: [
        ...limit === undefined ? [] : [`--nofile=${limit}:${limit}`],
        ...["setpriv", `--reuid=${this.uid}`, `--regid=${this.uid}`, "--clear-groups"],
        ...[this.#program, "run", ...permissions, ...program, project.configFile],
      ],
      cwd: HOLDFAST,
      env: { DENO_DIR: join(this.#folder, "dir"), HOME: project.folder },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const server = new Server(project, process);
    await server.waitFor("serving");
    return server;
  }

  /** Runs code as this user, with all permissions; what it prints can be read. */
  evaluate(code: string): Deno.ChildProcess {
    return new Deno.Command("setpriv", {
      args: [
        ...[`--reuid=${this.uid}`, `--regid=${this.uid}`, "--clear-groups"],
        ...[this.#program, "eval", code],
      ],
      cwd: "/",
      env: { DENO_DIR: join(this.#folder, "dir"), HOME: this.#folder },
      stdin: "null",
      stdout: "piped",
    }).spawn();
  }

  /** Limits how many threads this user may have when a process of it starts another. */
  async limitThreads(pid: number, most: string): Promise<void> {
    const ids = [`--reuid=${this.uid}`, `--regid=${this.uid}`, "--clear-groups"];
    await run("setpriv", ...ids, "prlimit", `--pid=${pid}`, `--nproc=${most}:`);
  }

  async #own(folder: string): Promise<void> {
    await run("chown", "-R", `${this.uid}:${this.uid}`, folder);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}
