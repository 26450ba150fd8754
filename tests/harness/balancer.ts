/** A real HAProxy, nginx or Caddy, on its sample in deploy/ with addresses and paths replaced. */
import { join } from "node:path";
import { hasProgram } from "../../tools/programs.ts";
import { ProcessLog } from "./process_log.ts";
import { REPOSITORY } from "./project.ts";
import type { CommandResult } from "./server.ts";
import { PATIENCE_MS, until } from "./wait.ts";

export const BALANCERS = ["haproxy", "nginx", "caddy"] as const;
export type BalancerName = typeof BALANCERS[number];

/** Each sample: HAProxy has another one, with TLS. */
export type SampleName = BalancerName | "haproxy_tls";

/** A piece of a sample, and what a test has in its place. */
export type Edit = readonly [from: string, to: string];

/** How one of them is run. */
interface Program {
  /** The sample's path in deploy/. */
  readonly sample: string;
  /** The Debian package. */
  readonly apt: string;
  /** What the distribution's own config has around the sample; SAMPLE is its path. */
  readonly around?: string;
  readonly check: (file: string, folder: string) => readonly string[];
  readonly serve: (file: string, folder: string) => readonly string[];
}

const HAPROXY = {
  apt: "haproxy",
  check: (file: string) => ["haproxy", "-dW", "-c", "-f", file],
  serve: (file: string) => ["haproxy", "-db", "-f", file],
};

const PROGRAMS: Record<SampleName, Program> = {
  haproxy: { sample: "haproxy/haproxy.cfg", ...HAPROXY },
  haproxy_tls: { sample: "haproxy/tls.cfg", ...HAPROXY },
  nginx: {
    sample: "nginx/holdfast.conf",
    apt: "nginx-light",
    around: `
daemon off;
pid nginx.pid;
error_log stderr warn;
worker_processes 2;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  include SAMPLE;
}`,
    check: (file, folder) => ["nginx", "-t", "-e", "stderr", "-p", folder, "-c", file],
    serve: (file, folder) => ["nginx", "-e", "stderr", "-p", folder, "-c", file],
  },
  caddy: {
    sample: "caddy/Caddyfile",
    apt: "caddy",
    // Several at a time on this machine, and none that asks for certificates.
    around: "{\n\tadmin off\n\tauto_https off\n}\nimport SAMPLE\n",
    check: (file) => ["caddy", "validate", "--adapter", "caddyfile", "--config", file],
    serve: (file) => ["caddy", "run", "--adapter", "caddyfile", "--config", file],
  },
};

/** The text of a sample with each piece replaced; a piece that is not there is an error. */
export async function editSample(name: SampleName, edits: readonly Edit[]): Promise<string> {
  const path = join(REPOSITORY, "deploy", PROGRAMS[name].sample);
  return edits.reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`${path} has no ${JSON.stringify(from)}`);
    return text.replaceAll(from, to);
  }, await Deno.readTextFile(path));
}

/** A sample, written out where it can be checked and run. */
export class Balancer implements AsyncDisposable {
  readonly name: SampleName;
  readonly folder: string;
  #process: ProcessLog | undefined;

  constructor(name: SampleName, folder: string) {
    this.name = name;
    this.folder = folder;
  }

  static async place(name: SampleName, edits: readonly Edit[] = []): Promise<Balancer> {
    const { apt, around = "", check } = PROGRAMS[name];
    const [program] = check("", "");
    if (!hasProgram(program!)) {
      throw new Error(`Cannot test the sample: no ${program}. Run: apt-get install ${apt}`);
    }
    const folder = await Deno.makeTempDir({ prefix: `holdfast_test_${name}_` });
    // The workers of nginx are nobody in particular.
    await Deno.chmod(folder, 0o755);
    const balancer = new Balancer(name, folder);
    await Deno.writeTextFile(join(folder, "sample"), await editSample(name, edits));
    await Deno.writeTextFile(
      join(folder, "around"),
      around.replace("SAMPLE", join(folder, "sample")),
    );
    return balancer;
  }

  /**
   * Starts one and waits until somebody listens on `place`, a port or the path of a socket; or does
   * not wait, where nobody out here could see it.
   */
  static async start(
    name: SampleName,
    edits: readonly Edit[],
    place: number | string | undefined,
    prefix: readonly string[] = [],
  ): Promise<Balancer> {
    const balancer = await Balancer.place(name, edits);
    try {
      balancer.#serve(prefix);
      await until(`${name} to listen`, async () => {
        if (balancer.#process?.exit) throw new Error(`${name} has ended:\n${balancer.log}`);
        return place === undefined || await connects(place);
      });
    } catch (error) {
      await balancer[Symbol.asyncDispose]();
      throw error;
    }
    return balancer;
  }

  /** What it wrote to its standard error. */
  get log(): string {
    return this.#process?.text ?? "";
  }

  /** Has the program judge the config without running it. */
  async check(): Promise<CommandResult> {
    const [program, ...args] = PROGRAMS[this.name].check(this.#file, this.folder);
    const output = await new Deno.Command(program!, { args, env: this.#env }).output();
    const decoder = new TextDecoder();
    return {
      code: output.code,
      stdout: decoder.decode(output.stdout),
      stderr: decoder.decode(output.stderr),
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process?.signal(this.name.startsWith("haproxy") ? "SIGINT" : "SIGTERM");
    await this.#process?.ended(PATIENCE_MS);
    await Deno.remove(this.folder, { recursive: true });
  }

  get #file(): string {
    return join(this.folder, PROGRAMS[this.name].around === undefined ? "sample" : "around");
  }

  get #env(): Record<string, string> {
    return { HOME: this.folder, XDG_DATA_HOME: this.folder, XDG_CONFIG_HOME: this.folder };
  }

  #serve(prefix: readonly string[]): void {
    const command = [...prefix, ...PROGRAMS[this.name].serve(this.#file, this.folder)];
    this.#process = ProcessLog.spawn(command, { env: this.#env });
  }
}

async function connects(place: number | string): Promise<boolean> {
  try {
    const connection = typeof place === "number"
      ? await Deno.connect({ hostname: "127.0.0.1", port: place })
      : await Deno.connect({ transport: "unix", path: place });
    connection.close();
    return true;
  } catch {
    return false;
  }
}
