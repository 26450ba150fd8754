/**
 * A container as deploy/docker/Dockerfile describes it, without a daemon: its root file system is run
 * by bubblewrap as its user, with its environment and commands.
 */
import { join } from "node:path";
import { hasProgram } from "../../tools/programs.ts";
import { DOCKERFILE } from "./dockerfile.ts";
import { isAlive } from "./process.ts";
import { killQuietly, ProcessLog } from "./process_log.ts";
import { type CommandResult, resultOf } from "./server.ts";
import { PATIENCE_MS, until } from "./wait.ts";

const SCRIPT = "deploy/docker/rootfs.sh";
/** The programs that this takes, and their Debian packages. */
const NEEDED = { bwrap: "bubblewrap", busybox: "busybox-static", nsenter: "util-linux" };

/** What the Dockerfile says of how its image is run. */
export interface Image {
  readonly user: number;
  readonly env: Readonly<Record<string, string>>;
  readonly start: readonly string[];
  readonly health: readonly string[];
  readonly stopSignal: Deno.Signal;
  readonly volumes: readonly string[];
  readonly folder: string;
}

/** Reads the last stage of the Dockerfile; it is written so that this is no more than a few lines. */
export async function readDockerfile(): Promise<Image> {
  const text = await Deno.readTextFile(DOCKERFILE);
  const [build, final] = text.split("\nFROM scratch\n");
  if (!build!.includes(`RUN sh ${SCRIPT} `)) throw new Error(`${DOCKERFILE} calls no ${SCRIPT}`);
  const say = (word: string) => {
    const found = new RegExp(`^${word} (.*)$`, "m").exec(final ?? "")?.[1];
    if (found === undefined) throw new Error(`${DOCKERFILE} has no ${word}`);
    return found;
  };
  const list = (words: string): string[] => JSON.parse(words);
  const [user, group] = say("USER").split(":").map(Number);
  if (user !== group) throw new Error(`USER ${user}:${group}`);
  return {
    user: user!,
    env: Object.fromEntries(
      say("ENV").split(" ").map((pair) => pair.split("=", 2) as [string, string]),
    ),
    start: [...list(say("ENTRYPOINT")), ...list(say("CMD"))],
    health: list(say("HEALTHCHECK").replace(/.* CMD /, "")),
    stopSignal: say("STOPSIGNAL") as Deno.Signal,
    volumes: list(say("VOLUME")),
    folder: say("WORKDIR"),
  };
}

/** A running container. */
export class Container implements AsyncDisposable {
  readonly image: Image;
  readonly folder: string;
  readonly #process: ProcessLog;
  #pid: number | undefined;

  constructor(image: Image, folder: string, process: ProcessLog) {
    this.image = image;
    this.folder = folder;
    this.#process = process;
  }

  /**
   * Starts one of a root file system.
   *
   * @param config what lies over the packed config
   * @param network whether it has one of its own, in which nobody else is
   */
  static async start(
    root: string,
    config: string,
    network: "own" | "shared" = "shared",
  ): Promise<Container> {
    for (const [program, apt] of Object.entries(NEEDED)) {
      if (!hasProgram(program)) {
        throw new Error(`Cannot run a container: no ${program}. Run: apt-get install ${apt}`);
      }
    }
    const image = await readDockerfile();
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_container_" });
    await Deno.chmod(folder, 0o755);
    await Deno.writeTextFile(join(root, "app/guestbook.jsonc"), config);
    const binds: string[] = [];
    for (const volume of image.volumes) {
      // As Docker does with a new volume: it is as the image has that folder.
      await must("cp", "-a", join(root, volume), join(folder, volume));
      binds.push("--bind", join(folder, volume), volume);
    }
    const process = ProcessLog.spawn([
      "setpriv",
      ...[`--reuid=${image.user}`, `--regid=${image.user}`, "--clear-groups", "bwrap"],
      ...["--clearenv", ...Object.entries(image.env).flatMap((pair) => ["--setenv", ...pair])],
      ...["--ro-bind", root, "/", "--proc", "/proc", "--dev", "/dev", ...binds],
      ...["--chdir", image.folder, "--unshare-pid", "--unshare-ipc", "--unshare-uts"],
      ...network === "own" ? ["--unshare-net"] : [],
      ...["--as-pid-1", "--cap-drop", "ALL", "--die-with-parent", ...image.start],
    ]);
    return new Container(image, folder, process);
  }

  get log(): string {
    return this.#process.text;
  }

  /** Its process 1, as it is known out here. */
  async pid(): Promise<number> {
    return this.#pid ??= await until("process 1 of the container", async () => {
      if (this.#process.exit) throw new Error(`The container has ended:\n${this.log}`);
      const { stdout } = await new Deno.Command("ps", {
        args: ["--ppid", String(this.#process.pid), "-o", "pid="],
      }).output();
      return Number(new TextDecoder().decode(stdout).trim()) || undefined;
    });
  }

  /** Runs a command in it, as its user and with its environment, as `docker exec` does. */
  async exec(...command: readonly string[]): Promise<CommandResult> {
    const { user, env } = this.image;
    const output = await new Deno.Command("nsenter", {
      args: [
        ...[`--target=${await this.pid()}`, "--all", "--root", "--wd"],
        ...[`--setuid=${user}`, `--setgid=${user}`, ...command],
      ],
      clearEnv: true,
      env: { ...env, PATH: env["PATH"]! },
      signal: AbortSignal.timeout(PATIENCE_MS),
    }).output();
    return resultOf(output);
  }

  /** Waits until its health check succeeds. */
  async healthy(): Promise<void> {
    await until(
      "the container to be healthy",
      async () => (await this.exec(...this.image.health)).code === 0,
    );
  }

  /** Sends its stop signal and gives its exit status. */
  async stop(): Promise<number> {
    if (!this.#process.exit) killQuietly(await this.pid(), this.image.stopSignal);
    return (await this.#process.ended(45_000, () => this.#kill())).status.code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } finally {
      this.#kill();
      await Deno.remove(this.folder, { recursive: true });
    }
  }

  #kill(): void {
    for (const pid of [this.#pid, this.#process.pid]) {
      if (pid !== undefined && isAlive(pid)) killQuietly(pid);
    }
  }
}

async function must(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program} ${args[0]}: ${new TextDecoder().decode(stderr)}`);
}
