/** Workers that do not want to end, a hundred times: nothing but the newest generation is left of each. */
import { assertEquals } from "@std/assert";
import { join } from "node:path";
import { numberOf } from "../../lib/sandbox/seccomp.ts";
import { isAlive, processesIn } from "../harness/process.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

/** How often each of the four ends is tried, and beside how many others. */
const [TIMES, LANES] = [25, 2];

/** Much longer than any deadline of the config. */
const PATIENCE_MS = 15_000;

/** Several start at the same time, and an upgrade starts as many processes as three do. */
const LONG_MS = 120_000;

/** Takes away from Holdfast's own code all that it ends by, and never says that it is done. */
const STUBBORN = `
import net from "node:net";
import process from "node:process";
const put = (on, name, value) => {
  try {
    Object.defineProperty(on, name, { value, configurable: true, writable: true });
  } catch { /* It cannot be changed. */ }
};
const stay = () => {};
for (const name of ["exit", "close", "shutdown"]) put(Deno, name, stay);
for (const name of ["exit", "reallyExit", "abort", "disconnect"]) put(process, name, stay);
for (const each of [net.Server, net.Socket]) {
  for (const name of ["close", "end", "destroy", "unref"]) put(each.prototype, name, stay);
}
setInterval(stay, 1000);
export const close = () => new Promise(stay);
`;

const PLAIN_APP = `${STUBBORN}
export default { fetch: () => new Response(JSON.stringify({ ok: true })) };`;

const NATIVE_APP = `${STUBBORN}
export { default } from "file://${REPOSITORY}/tests/doubles/native_app.ts";`;

/** Gives the listener another number, and sends it where nobody takes it: to what it is handed things by. */
const HIDE = `
  const [GETSOCKOPT, FCNTL, SENDMSG] = [55, 72, ${numberOf("sendmsg", "x86_64")}];
  const addressOf = (bytes) => BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
  const value = new Uint8Array(4);
  for (let fd = 3; fd < 64; fd++) {
    value.fill(0);
    native.call(GETSOCKOPT, fd, 1, 30, value, Uint8Array.of(4, 0, 0, 0));
    if (value[0] !== 1) continue;
    native.call(FCNTL, fd, 0, 1000);
    const data = new Uint8Array(1);
    const part = new Uint8Array(new BigUint64Array([addressOf(data), 1n]).buffer);
    const control = new Uint8Array(24);
    const words = new DataView(control.buffer);
    for (const [at, word] of [[0, 20], [8, 1], [12, 1], [16, fd]]) words.setInt32(at, word, true);
    const header = new Uint8Array(56);
    const view = new DataView(header.buffer);
    view.setBigUint64(16, addressOf(part), true);
    view.setBigUint64(24, 1n, true);
    view.setBigUint64(32, addressOf(control), true);
    view.setBigUint64(40, 24n, true);
    globalThis.kept = [data, part, control];
    const HAND_OVER = 3;
    return native.call(SENDMSG, HAND_OVER, header, 0);
  }`;

/** One project, whose worker stays whatever it is told. */
class Stubborn {
  readonly #project: Project;
  readonly #native: boolean;
  #server: Server;

  private constructor(project: Project, native: boolean, server: Server) {
    this.#project = project;
    this.#native = native;
    this.#server = server;
  }

  static async start(native: boolean): Promise<Stubborn> {
    const project = await Project.create({
      files: { "app.ts": native ? NATIVE_APP : PLAIN_APP },
      config: {
        onViolation: "log",
        reload: { readyDeadlineMs: 30_000, drainDeadlineMs: 300, idleGraceMs: 0 },
      },
    });
    return new Stubborn(project, native, await startOn(project, native));
  }

  async #harden(): Promise<void> {
    const body = this.#native ? HIDE : "";
    const answer = await this.#server.get("/", { method: "POST", body });
    // The byte that it is sent with: in a process that serves there is no pair of sockets for it.
    assertEquals(await answer.json(), { ok: this.#native ? 1 : true });
  }

  /** Nothing of the project runs but what the supervisor says that it serves with. */
  async #onlyNew(before: readonly number[]): Promise<void> {
    await until("nothing but the new generation", async () => {
      const now = await this.#server.workers().catch(() => []);
      const left = processesIn(this.#project.folder).filter(isAlive);
      return now.length === 1 && !before.includes(now[0]!) && left.join() === now.join();
    }, PATIENCE_MS);
  }

  readonly ends: Record<string, () => Promise<void>> = {
    reload: async () => {
      const before = await this.#server.workers();
      await this.#harden();
      assertEquals((await this.#server.hangUp()).event, "reload_done");
      await this.#onlyNew(before);
    },
    upgrade: async () => {
      const before = await this.#server.workers();
      await this.#harden();
      const serving = this.#server.eventsOf("serving").length;
      this.#server.signal("SIGUSR2");
      await until(
        "the upgrade",
        () => this.#server.eventsOf("serving").length > serving,
        LONG_MS,
      );
      await this.#onlyNew(before);
    },
    SIGKILL: async () => {
      const before = await this.#server.workers();
      await this.#harden();
      this.#server.signal("SIGKILL");
      await this.#server.exited();
      this.#server = await startOn(this.#project, this.#native);
      await this.#onlyNew(before);
    },
    stop: async () => {
      await this.#harden();
      assertEquals((await this.#server.stop()).code, 0);
      assertEquals(processesIn(this.#project.folder).filter(isAlive), []);
      this.#server = await startOn(this.#project, this.#native);
    },
  };

  async end(): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }
}

async function startOn(project: Project, native: boolean): Promise<Server> {
  const entry = [join(REPOSITORY, "tests/doubles/wide_supervisor.ts")];
  const server = await Server.startOn(project, { ...native && { entry }, wait: "nothing" });
  try {
    await until("the start", () => server.eventsOf("serving").length > 0, LONG_MS);
  } catch (error) {
    throw new Error(server.log.slice(-2_000), { cause: error });
  }
  return server;
}

Deno.test(`of a worker that does not end nothing is left at its deadline, ${4 * TIMES} times`, async () => {
  const isNative = Deno.build.arch === "x86_64";
  const done: Record<string, number> = {};
  let begun = 0;
  await Promise.all(Array.from({ length: LANES }, async (_, lane) => {
    // Not all of them start and drain at the same time.
    await sleep(500 * lane);
    const stubborn = await Stubborn.start(isNative && lane % 2 === 0);
    try {
      while (begun++ < TIMES) {
        for (const [how, run] of Object.entries(stubborn.ends)) {
          await run();
          done[how] = (done[how] ?? 0) + 1;
        }
      }
    } finally {
      await stubborn.end();
    }
  }));
  assertEquals(done, { reload: TIMES, upgrade: TIMES, SIGKILL: TIMES, stop: TIMES });
});
