/** Pebble, a small ACME authority for tests, and a name server by which it finds this machine. */
import { request } from "node:https";
import { connect } from "node:tls";
import { Authority } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { killQuietly } from "./process_log.ts";
import { PATIENCE_MS, until } from "./wait.ts";

export interface PebbleOptions {
  /** Where it asks for names: port 80, elsewhere. */
  readonly httpPort: number;
  /** How long its certificates count, in seconds. */
  readonly lifeSeconds?: number;
  /** Of every hundred nonces it refuses so many. */
  readonly badNonces?: number;
  /** Where it is; the default is a port of its own. */
  readonly port?: number;
}

export class Pebble implements AsyncDisposable {
  readonly #folder: string;
  readonly #authority: Authority;
  readonly #children: Deno.ChildProcess[];
  /** The URL of its directory. */
  readonly directory: string;
  /** Who vouches for its own server, in PEM. */
  readonly trust: string;
  readonly #management: number;

  private constructor(
    folder: string,
    authority: Authority,
    children: Deno.ChildProcess[],
    ports: { readonly port: number; readonly management: number },
  ) {
    this.#folder = folder;
    this.#authority = authority;
    this.#children = children;
    this.directory = `https://localhost:${ports.port}/dir`;
    this.trust = authority.cert;
    this.#management = ports.management;
  }

  /** @param authority who vouches for its server; it is disposed of with this */
  static async start(
    { httpPort, lifeSeconds = 7_776_000, badNonces = 0, port = freePort() }: PebbleOptions,
    authority?: Authority,
  ): Promise<Pebble> {
    const own = authority ?? await Authority.create("holdfast pebble");
    const folder = await Deno.makeTempDir({ prefix: "holdfast_pebble_" });
    const [management, dns, dnsManagement] = [freePort(), freePort(), freePort()];
    const { cert, key } = await own.issue();
    await Deno.writeTextFile(`${folder}/cert.pem`, cert);
    await Deno.writeTextFile(`${folder}/key.pem`, key);
    const config = {
      listenAddress: `127.0.0.1:${port}`,
      managementListenAddress: `127.0.0.1:${management}`,
      certificate: `${folder}/cert.pem`,
      privateKey: `${folder}/key.pem`,
      ...{ httpPort, tlsPort: freePort(), ocspResponderURL: "" },
      externalAccountBindingRequired: false,
      // One is of earlier versions, such as Debian's.
      certificateValidityPeriod: lifeSeconds,
      profiles: { default: { description: "", validityPeriod: lifeSeconds } },
      retryAfter: { authz: 1, order: 1 },
    };
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify({ pebble: config }));
    const spawn = (program: string, ...args: string[]) =>
      new Deno.Command(program, {
        args,
        env: {
          ...{ PEBBLE_VA_NOSLEEP: "1", PEBBLE_AUTHZREUSE: "0" },
          PEBBLE_WFE_NONCEREJECT: String(badNonces),
        },
        ...{ stdin: "null", stdout: "null", stderr: "null" },
      }).spawn();
    const { stderr } = await new Deno.Command("pebble-challtestsrv", { args: ["-help"] }).output();
    const known = new TextDecoder().decode(stderr);
    const none = ["-http01", "-https01", "-tlsalpn01", "-doh", "-defaultIPv6"]
      .filter((name) => known.includes(`${name} `)).flatMap((name) => [name, ""]);
    const places = [
      ...[known.includes("-dnsserver ") ? "-dnsserver" : "-dns01", `127.0.0.1:${dns}`],
      ...["-management", `127.0.0.1:${dnsManagement}`],
    ];
    const children = [
      spawn("pebble-challtestsrv", ...none, ...places),
      spawn("pebble", "-config", `${folder}/config.json`, "-dnsserver", `127.0.0.1:${dns}`),
    ];
    const pebble = new Pebble(folder, own, children, { port, management });
    await until(
      "an answer of pebble",
      () => pebble.#fetch(pebble.directory).then(() => true, () => false),
    );
    return pebble;
  }

  /** What clients of the certificates that it issues trust, in PEM. */
  async root(): Promise<string> {
    return await this.#fetch(`https://localhost:${this.#management}/roots/0`);
  }

  /** Passes a request on, as one that came to another place. */
  async forward({ method, url, headers, body }: Request): Promise<Response> {
    const { host, pathname } = new URL(url);
    const sent = body === null ? "" : await new Response(body).text();
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const passed = request(new URL(pathname, this.directory), {
      ...{ method, ca: this.trust, agent: false },
      // The authority names its URLs by it.
      headers: { ...Object.fromEntries(headers), host },
    }, (answer) => {
      const pieces: Uint8Array[] = [];
      answer.on("data", (piece) => pieces.push(piece));
      answer.on("end", () => {
        const kept = ["content-type", "location", "replay-nonce", "retry-after"];
        const found = kept.flatMap((name): [string, string][] => {
          const value = answer.headers[name];
          return typeof value === "string" ? [[name, value]] : [];
        });
        const status = answer.statusCode!;
        const text = status === 204 || method === "HEAD" ? null : new Blob(pieces as BlobPart[]);
        resolve(new Response(text, { status, headers: found }));
      });
    });
    passed.on("error", reject);
    passed.end(sent);
    return await promise;
  }

  async #fetch(url: string): Promise<string> {
    using client = Deno.createHttpClient({ caCerts: [this.trust], poolMaxIdlePerHost: 0 });
    const signal = AbortSignal.timeout(PATIENCE_MS);
    return await (await fetch(url, { client, signal })).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      killQuietly(child.pid);
      await child.status;
    }
    await Deno.remove(this.#folder, { recursive: true });
    await this.#authority[Symbol.asyncDispose]();
  }
}

/** What a client that trusts an authority makes of a server: its certificate's numbers, or why not. */
export function shakeHands(
  port: number,
  { name, ca }: { readonly name: string; readonly ca: string },
): Promise<{ readonly serial?: string; readonly error?: string }> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, servername: name, ca: [ca] });
    socket.on("secureConnect", () => {
      const { serialNumber: serial } = socket.getPeerCertificate();
      socket.destroy();
      resolve({ serial });
    });
    socket.on("error", ({ message: error }) => {
      socket.destroy();
      resolve({ error });
    });
  });
}
