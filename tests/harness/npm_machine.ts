/** A person's machine with Node and npm: an empty home, no Deno, and a registry that has Holdfast. */
import { assert } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { VERSION } from "../../lib/base/version.ts";
import { packCreate, packNpm } from "../../tools/pack_npm.ts";
import { processesIn } from "./process.ts";
import { killQuietly, ProcessLog } from "./process_log.ts";
import { PATIENCE_MS, until } from "./wait.ts";

/** What is on the PATH: npm runs what packages bring by `sh`, and an audit looks at a `sleep`. */
const PROGRAMS = ["node", "npm", "npx", "sh", "sleep"];

/**
 * What the environment says of how npm's registry is reached. Of a test that npx runs it also says whose
 * settings, cache and prefix hold, and those are not this person's.
 */
const NETWORK =
  /^(npm_config_(ca|cafile|noproxy|strict_ssl)|.*_proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_(FILE|DIR))$/i;

/** What the registry knows of one version of a package. */
interface Published {
  readonly description: Readonly<Record<string, unknown>>;
  readonly tarball: Uint8Array<ArrayBuffer>;
}

export class NpmMachine implements AsyncDisposable {
  readonly folder: string;
  /** What the person has waited for, in ms. */
  readonly waited: { readonly command: string; readonly ms: number }[] = [];
  readonly #published = new Map<string, Published>();
  #registry: Deno.HttpServer<Deno.NetAddr> | undefined;
  #others = "";

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** Sets one up, on which both packages are in the registry as they will be. */
  static async make(): Promise<NpmMachine> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    // Root's processes have accounts of their own, which have to get in.
    await Deno.chmod(folder, 0o755);
    for (const name of ["home", "bin"]) await Deno.mkdir(join(folder, name));
    for (const name of PROGRAMS) {
      const { stdout } = await new Deno.Command("sh", { args: ["-c", `command -v ${name}`] })
        .output();
      await Deno.symlink(new TextDecoder().decode(stdout).trim(), join(folder, "bin", name));
    }
    const machine = new NpmMachine(folder);
    const { stdout } = await new Deno.Command("npm", {
      ...{ args: ["config", "get", "registry"], cwd: folder },
    }).output();
    machine.#others = new TextDecoder().decode(stdout).trim();
    await packNpm(join(folder, "packages/holdfast"));
    await packCreate(join(folder, "packages/create-holdfast"));
    for (const name of ["holdfast", "create-holdfast"]) await machine.#publish(name);
    machine.waited.length = 0;
    machine.#registry = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      (request) => machine.#answer(new URL(request.url), request.headers),
    );
    const origin = `http://127.0.0.1:${machine.#registry.addr.port}`;
    await Deno.writeTextFile(join(folder, "home/.npmrc"), `registry=${origin}/\n`);
    return machine;
  }

  /** A file of the package, as npm would get it. */
  tarball(name: string): string {
    return join(this.folder, "packages", name, `${name}-${VERSION}.tgz`);
  }

  async #publish(name: string): Promise<void> {
    const folder = join(this.folder, "packages", name);
    await this.run("npm pack --silent", folder);
    this.#published.set(name, {
      description: JSON.parse(await Deno.readTextFile(join(folder, "package.json"))),
      tarball: await Deno.readFile(this.tarball(name)),
    });
  }

  /** Holdfast's own packages, and all others from npm's registry. */
  async #answer({ origin, pathname, search }: URL, headers: Headers): Promise<Response> {
    const [name = "", ...file] = pathname.slice(1).split("/");
    const found = this.#published.get(name);
    if (found === undefined) {
      const accept = headers.get("accept") ?? "*/*";
      const { body, status, headers: more } = await fetch(
        new URL(`.${pathname}${search}`, this.#others),
        { headers: { accept } },
      );
      const type = more.get("content-type") ?? "application/octet-stream";
      return new Response(body, { status, headers: { "content-type": type } });
    }
    if (file.length > 0) return new Response(found.tarball);
    const integrity = `sha512-${createHash("sha512").update(found.tarball).digest("base64")}`;
    const dist = { tarball: `${origin}/${name}/-/${name}-${VERSION}.tgz`, integrity };
    return Response.json({
      ...{ name, "dist-tags": { latest: VERSION } },
      versions: { [VERSION]: { ...found.description, dist } },
    });
  }

  #environment(): Record<string, string> {
    const passed = Object.entries(Deno.env.toObject()).filter(([name]) => NETWORK.test(name));
    return {
      ...Object.fromEntries(passed),
      ...{ HOME: join(this.folder, "home"), PATH: join(this.folder, "bin") },
    };
  }

  start(command: string, cwd: string, more: Record<string, string> = {}): ProcessLog {
    return ProcessLog.spawn(["/bin/sh", "-c", `exec ${command}`], {
      ...{ cwd, env: { ...this.#environment(), ...more }, clearEnv: true },
    });
  }

  /** Runs a command and gives what it printed. */
  async run(command: string, cwd: string, code = 0): Promise<string> {
    const startMs = performance.now();
    const output = await new Deno.Command("/bin/sh", {
      args: ["-c", `exec ${command} 2>&1`],
      ...{ cwd, env: this.#environment(), clearEnv: true, stdin: "null" },
      signal: AbortSignal.timeout(3 * PATIENCE_MS),
    }).output();
    const text = new TextDecoder().decode(output.stdout);
    assert(output.code === code, `${command}: ${output.code}\n${text}`);
    this.noteWait(command, startMs);
    return text;
  }

  /** Takes down how long something was waited for. */
  noteWait(command: string, startMs: number): void {
    this.waited.push({ command, ms: Math.round(performance.now() - startMs) });
  }

  /** What was waited for, and how long. */
  transcript(): string {
    const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`.padStart(7);
    const sum = this.waited.reduce((sum, { ms }) => sum + ms, 0);
    return [...this.waited.map(({ command, ms }) => `${seconds(ms)}  ${command}`)]
      .concat(`${seconds(sum)}  in all`).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#registry?.shutdown();
    // What still ends may write there until it has.
    await until("the folder to be gone", () => {
      processesIn(this.folder).forEach((pid) => killQuietly(pid));
      try {
        Deno.removeSync(this.folder, { recursive: true });
        return true;
      } catch {
        return false;
      }
    });
  }
}
