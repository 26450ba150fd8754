/** A systemd that has booted, in namespaces and a root of its own: nothing of this machine's is touched. */
import { join } from "node:path";
import { findMissing, type Needs } from "./needs.ts";
import { isAlive, readStatus } from "./process.ts";
import { killQuietly } from "./process_log.ts";
import { REPOSITORY } from "./project.ts";
import { type CommandResult, resultOf } from "./server.ts";
import { PATIENCE_MS, until } from "./wait.ts";

const SCRIPT = join(REPOSITORY, "tests/doubles/boot_systemd.sh");

/** A first start in there bundles Holdfast's programs, and systemctl waits for it. */
const COMMAND_PATIENCE_MS = 4 * PATIENCE_MS;

/** Where this machine has cgroups of version 2. */
function findCgroups(): string | undefined {
  return /^\S+ (\S+) cgroup2 (?=rw)/m.exec(Deno.readTextFileSync("/proc/mounts"))?.[1];
}

/** What it takes to boot one here. */
export function bootNeeds(): Needs {
  const programs = ["ip", "nsenter", "setpriv", "systemd-analyze", "unshare"] as const;
  const needs: Needs = { programs, root: true };
  if (findMissing(needs) !== undefined) return needs;
  const cgroups = findCgroups();
  if (cgroups === undefined) return { missing: "no cgroup2 that may be written" };
  return { ...needs, missing: tryCgroup(cgroups) };
}

function tryCgroup(cgroups: string): string | undefined {
  const folder = join(cgroups, `holdfast_try_${Deno.pid}`);
  try {
    Deno.mkdirSync(folder);
    Deno.removeSync(folder);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

export class BootedSystemd implements AsyncDisposable {
  readonly #folder: string;
  readonly #cgroup: string;
  readonly #process: Deno.ChildProcess;
  readonly #ended: Promise<unknown>;
  #pid = 0;

  constructor(folder: string, cgroup: string, process: Deno.ChildProcess) {
    this.#folder = folder;
    this.#cgroup = cgroup;
    this.#process = process;
    this.#ended = process.status;
  }

  /**
   * Boots one, and waits until it takes commands.
   *
   * @param fill puts files below a folder, by their paths from the root
   */
  static async boot(fill: (files: string) => Promise<void>): Promise<BootedSystemd> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_boot_" }));
    await Deno.chmod(folder, 0o755);
    const files = join(folder, "files");
    await Deno.mkdir(files);
    await fill(files);
    const cgroup = join(findCgroups()!, `holdfast_${Deno.pid}`);
    await Deno.mkdir(cgroup);
    const namespaces = ["--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "--cgroup"];
    const process = new Deno.Command("sh", {
      args: [
        ...["-c", `echo $$ >${cgroup}/cgroup.procs && exec unshare "$@"`, "sh"],
        ...[...namespaces, "--kill-child", "sh", SCRIPT, folder, "basic.target"],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const booted = new BootedSystemd(folder, cgroup, process);
    try {
      await booted.#settle();
    } catch (error) {
      await booted[Symbol.asyncDispose]();
      throw error;
    }
    return booted;
  }

  async #settle(): Promise<void> {
    let ended = false;
    void this.#ended.then(() => ended = true);
    this.#pid = await until("process 1", () => {
      if (ended) throw new Error("It did not boot");
      return [...Deno.readDirSync("/proc")].map(({ name }) => Number(name))
        .find((pid) => pid > 0 && Number(readStatus(pid)?.["PPid"]) === this.#process.pid);
    });
    await until("systemd to have booted", async () => {
      if (ended) throw new Error("It ended while it booted");
      const { stdout } = await this.run("systemctl", "is-system-running");
      return /running|degraded/.test(stdout);
    });
  }

  /** Runs a command in it, as root. */
  async run(...command: readonly string[]): Promise<CommandResult> {
    const output = await new Deno.Command("nsenter", {
      args: [`--target=${this.#pid}`, "--all", "--root", "--wd", ...command],
      signal: AbortSignal.timeout(COMMAND_PATIENCE_MS),
    }).output();
    return resultOf(output);
  }

  /** The same, for what must succeed; gives what it printed. */
  async must(...command: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(...command);
    if (code === 0) return stdout.trim();
    const { stdout: journal } = await this.run("journalctl", "--no-pager", "-n", "60");
    throw new Error(`${command.join(" ")}: status ${code}, ${stderr}\n${journal}`);
  }

  /** Properties of a unit, by name. */
  async show(unit: string, ...names: string[]): Promise<Record<string, string>> {
    const text = await this.must("systemctl", "show", unit, `--property=${names.join(",")}`);
    return Object.fromEntries(
      text.split("\n").map((line) => {
        const at = line.indexOf("=");
        return [line.slice(0, at), line.slice(at + 1)];
      }),
    );
  }

  /** Where a path of it is seen from out here. */
  path(path: string): string {
    return `/proc/${this.#pid}/root${path}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // All of a pid namespace ends with its process 1.
    for (const pid of [this.#pid, this.#process.pid]) {
      if (pid > 0 && isAlive(pid)) killQuietly(pid);
    }
    await this.#ended;
    await until("its cgroups to be removed", () => removeCgroup(this.#cgroup));
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Removes a cgroup and those below it, once nothing is in them. */
function removeCgroup(folder: string): boolean {
  try {
    for (const { name, isDirectory } of Deno.readDirSync(folder)) {
      if (isDirectory && !removeCgroup(join(folder, name))) return false;
    }
    Deno.removeSync(folder);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return true;
    return false;
  }
}
