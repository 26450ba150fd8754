/** Executables of either kind under WebSockets and HTTP/2: reloads, upgrades and killed workers. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { Authority } from "../harness/certificates.ts";
import { build, Executable } from "../harness/executable.ts";
import { BusyHttp2Client } from "../harness/http2.ts";
import { NativeBuilds } from "../harness/native.ts";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { killQuietly } from "../harness/process_log.ts";
import { Project } from "../harness/project.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

/** Echoes; the first message says by whom. */
const APP = `
export default {
  async fetch(request) {
    if (request.headers.get("upgrade") !== "websocket") {
      await new Promise((resolve) => setTimeout(resolve, 20));
      return new Response("here");
    }
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.addEventListener("open", () => socket.send(String(Deno.pid)));
    socket.addEventListener("message", ({ data }) => socket.send(data));
    return response;
  },
};
`;

/** The codes with which a server that goes away closes. */
const GOING = [1001, 1012];

/** A client of WebSockets that hears each message, or the close. */
class Talker implements Disposable {
  readonly #socket: WebSocket;
  readonly #heard: string[] = [];
  #closed: number | undefined;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#heard.push(data);
    socket.onclose = ({ code }) => this.#closed = code;
  }

  static async open(
    url: string,
    client: Deno.HttpClient,
  ): Promise<{ talker: Talker; pid: number }> {
    const talker = new Talker(new WebSocket(url, { client }));
    return { talker, pid: Number(await talker.next()) };
  }

  /** The next message; with a close, its code. */
  async next(): Promise<string | number> {
    return await until("a message", () => this.#heard.shift() ?? this.#closed);
  }

  async echo(text: string): Promise<string | number> {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(text);
    return await this.next();
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Talks on, over another socket whenever the server goes away; @returns what was lost */
async function talk(url: string, client: Deno.HttpClient, end: AbortSignal) {
  const lost: string[] = [];
  let echoed = 0;
  while (!end.aborted) {
    const { talker, pid } = await Talker.open(url, client);
    using _closing = talker;
    // A close in the place of the greeting.
    if (GOING.includes(pid)) continue;
    if (pid < 2_000) lost.push(`no connection: ${pid}`);
    for (let count = 0; !end.aborted; count++) {
      const heard = await talker.echo(`message ${count}`);
      if (GOING.includes(Number(heard))) break;
      if (heard === `message ${count}`) echoed++;
      else {
        lost.push(`${heard}`);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  return { lost, echoed };
}

for (const kind of ["portable", "compiled"] as const) {
  const over = kind === "portable" ? "TLS" : "plain TCP";
  testWith(
    { programs: ["openssl"], builds: true },
    `${kind}: WebSockets and HTTP/2 over ${over} lose nothing by HUP and USR2, and by a killed worker only its own`,
    async () => {
      await using authority = await Authority.create();
      await using builds = new NativeBuilds();
      await using project = await Project.create({
        files: { "app.ts": APP },
        config: {
          workers: 2,
          reload: { idleGraceMs: 500, drainDeadlineMs: 60_000, maxDraining: 8 },
        },
      });
      await using executable = await Executable.place({
        executable: async (state) =>
          kind === "compiled"
            ? await builds.make(project.configFile, state)
            : (await build(project.configFile, project.folder)).output,
        isolation: "none",
      });
      const tls = kind === "portable";
      const port = tls ? freePort() : executable.port;
      if (tls) {
        const { cert, key } = await authority.issue();
        const folder = join(executable.path, "../tls");
        await Deno.mkdir(folder);
        await Deno.writeTextFile(join(folder, "cert.pem"), cert);
        await Deno.writeTextFile(join(folder, "key.pem"), key, { mode: 0o600 });
        const https = { https: `127.0.0.1:${port}`, cert: "./tls/cert.pem", key: "./tls/key.pem" };
        await executable.override({ listen: [`127.0.0.1:${executable.port}`, https] });
      }
      const ca = tls ? authority.cert : undefined;
      await using running = await executable.start();
      using client = Deno.createHttpClient(ca === undefined ? {} : { caCerts: [ca] });
      const url = `${tls ? "wss" : "ws"}://127.0.0.1:${port}/`;

      const enough = new AbortController();
      const talking = Array.from({ length: 6 }, () => talk(url, client, enough.signal));
      const asking = Array.from({ length: 2 }, async () => {
        const lost: string[] = [];
        while (!enough.signal.aborted) {
          const busy = await BusyHttp2Client.open(port, "here", 4, ca);
          await busy.ended;
          lost.push(...busy.lost);
        }
        return lost;
      });
      // Awaited below; what fails first is what is told.
      const all: Promise<unknown>[] = [...talking, ...asking];
      for (const each of all) each.catch(() => {});
      const reload = async () => {
        assertEquals((await running.hangUp()).event, "reload_done", running.log.slice(-2000));
      };
      await reload();
      await reload();
      Deno.kill(running.pid, "SIGUSR2");
      await until(
        "the new program to serve",
        () => running.events.filter(({ event }) => event === "serving").length === 2,
        4 * PATIENCE_MS,
      );
      await reload();
      enough.abort();
      // Those of HTTP/2 ask until they are told to go.
      await reload();
      assertEquals((await Promise.all(asking)).flat(), []);
      const talked = await Promise.all(talking);
      assertEquals(talked.flatMap(({ lost }) => lost), []);
      assert(talked.every(({ echoed }) => echoed > 0));

      const open: { talker: Talker; pid: number }[] = [];
      await until("sockets of both workers", async () => {
        open.push(await Talker.open(url, client));
        return new Set(open.map(({ pid }) => pid)).size === 2;
      });
      const killed = open[0]!.pid;
      killQuietly(killed);
      for (const { talker, pid } of open) {
        assertEquals(await talker.echo("still"), pid === killed ? 1006 : "still");
        talker[Symbol.dispose]();
      }
      const { talker } = await Talker.open(url, client);
      assertEquals(await talker.echo("again"), "again");
      talker[Symbol.dispose]();
    },
  );
}
