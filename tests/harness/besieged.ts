/** A server that meets hostile workers, one after the other, and what must be so after each. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import type { ViolationCode } from "../../lib/protocol/violation.ts";
import { hostileProgram } from "../doubles/hostile_programs.ts";
import { countDescriptors, isAlive, processesIn, readStatus } from "./process.ts";
import { PLAIN_APP, REPOSITORY } from "./project.ts";
import { Server } from "./server.ts";
import { PATIENCE_MS, until } from "./wait.ts";

/** A real supervisor that runs `program_*.js` in the place of Holdfast's worker. */
export const ENTRY = [join(REPOSITORY, "tests/doubles/hostile_supervisor.ts")];

export const GOOD = { app: "./app.ts" };
export const HOSTILE = { app: "./program_hostile.js" };

/** The reason for which a worker is lost that broke a rule. */
export const BROKE = (rule: ViolationCode) =>
  new RegExp(`broke the rule ${rule} \\(killed by SIGKILL\\)`);

/** The reason for which a worker is given up that did not come up. */
export const LATE = (step: string) => new RegExp(`did not ${step} within \\d+ ms`);

/** How much more memory a supervisor may have after it has met a hostile worker. */
const MORE_KIB = 64 * 1024;

export function residentKib(pid: number): number {
  return Number.parseInt(readStatus(pid)!["VmRSS"]!);
}

/** The text of the answer to one question; a worker that does not answer must not stop the test. */
export async function ask(server: Server, path: string): Promise<string> {
  return await (await server.get(path, { signal: AbortSignal.timeout(PATIENCE_MS) })).text();
}

/** A second after the first question a second server accepts on the control socket, and stays. */
export const LATE_DESCRIPTORS = 1;

/** Looks that the supervisor itself took no harm: it lives, answers, logs properly, and is no larger. */
export async function assertUnharmed(
  server: Server,
  before: { kib?: number; descriptors?: number } = {},
): Promise<void> {
  assert(isAlive(server.pid), server.log);
  assertEquals((await server.status()).pid, server.pid);
  const { kib, descriptors } = before;
  if (kib !== undefined) {
    const limitKib = kib + MORE_KIB;
    await until(`at most ${limitKib} KiB`, () => residentKib(server.pid) <= limitKib);
  }
  if (descriptors !== undefined) {
    await until(
      `at most ${descriptors} descriptors`,
      () => countDescriptors(server.pid) <= descriptors,
    );
  }
  assertWellLogged(server);
}

/** Every line is one event of the supervisor's own making. */
function assertWellLogged(server: Server): void {
  for (const line of server.log.split("\n").slice(0, -1)) {
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u001f\u007f-\u009f]/.test(line), JSON.stringify(line));
    const { time, level, event } = JSON.parse(line);
    assertMatch(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assertMatch(level, /^(info|warning|warn|error)$/);
    assertMatch(event, /^[a-z_]+$/);
  }
}

/** Writes a hostile program, and the config that names it. */
export async function bringInHostile(
  server: Server,
  program: string,
  config: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  await server.project.write("program_hostile.js", hostileProgram(program));
  await server.project.configure({ ...config, ...HOSTILE });
}

/** A hostile candidate. */
export interface Candidate {
  /** Statements of the hostile program. */
  readonly program: string;
  /** The rule that the log names; none if the worker fails without breaking one. */
  readonly rule?: ViolationCode;
  /** The reason that the reload gives. */
  readonly reason: RegExp;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly files?: Readonly<Record<string, string>>;
  /** Whether the log may name a rule or not, as whoever is quicker has it. */
  readonly hurried?: true;
  /** What the test does from outside, with the worker's process, once the program prints "here". */
  readonly interfere?: (pid: number) => unknown;
}

export function violating(rule: ViolationCode, program: string): Candidate {
  return { rule, program, reason: BROKE(rule) };
}

/** What a candidate has to come up, where its coming up is not what it fails at. */
const PATIENT = { reload: { readyDeadlineMs: 20_000 }, unveil: {} };

/** A server with a good generation that outlives all candidates; a new one is refused each time. */
export class Besieged implements AsyncDisposable {
  readonly server: Server;
  readonly #worker: number;
  /** What the supervisor has open when nobody besieges it. */
  #descriptors: number | undefined;

  readonly #weighed: boolean;

  private constructor(server: Server, worker: number, weighed: boolean) {
    this.server = server;
    this.#worker = worker;
    this.#weighed = weighed;
  }

  /** @param weighed whether it is looked how large the supervisor gets */
  static async start({ weighed = false } = {}): Promise<Besieged> {
    const server = await Server.start({ entry: ENTRY });
    return new Besieged(server, (await server.workers())[0]!, weighed);
  }

  /** Has it meet a candidate, and fails unless that is refused and the old generation goes on. */
  async meet(candidate: Candidate): Promise<void> {
    const { server } = this;
    const { program, rule, reason, config, files = {}, hurried, interfere } = candidate;
    for (const [path, text] of Object.entries(files)) await server.project.write(path, text);
    const kib = residentKib(server.pid);
    const violations = server.eventsOf("worker_violation").length;
    const heres = () => server.eventsOf("worker_output").filter(({ text }) => text === "here");
    const heard = heres().length;
    await bringInHostile(server, program, { ...PATIENT, ...config });
    const outcome = server.hangUp();
    if (interfere) {
      const here = await until("the worker's sign", () => heres()[heard]);
      await interfere(here.pid as number);
    }
    // While it does its worst.
    assertEquals(await ask(server, "/during"), "one /during");
    const refused = await outcome;
    assertEquals(refused.event, "reload_refused", server.log.slice(-4000));
    assertMatch(String(refused.reason), reason);
    const rules = server.eventsOf("worker_violation").slice(violations).map(({ rule }) => rule);
    if (rule !== undefined) assertEquals(rules, [rule]);
    else if (!hurried) assertEquals(rules, []);
    assertEquals(await ask(server, "/"), "one /");
    await until("the hostile one to be gone", () => {
      return processesIn(server.project.folder).length === 1;
    });
    // The first one warms the runtime up; from then on nothing may be added by each.
    this.#descriptors ??= countDescriptors(server.pid);
    await assertUnharmed(server, {
      ...this.#weighed && { kib },
      descriptors: this.#descriptors + LATE_DESCRIPTORS,
    });
    await this.#assertOldServes();
  }

  async #assertOldServes(): Promise<void> {
    const { server } = this;
    const [generation, ...others] = (await server.status()).generations;
    const { generation: number, state, workers } = generation!;
    assertEquals(
      [number, state, workers[0]?.process?.pid, others.length],
      [1, "serving", this.#worker, 0],
    );
    assertEquals(processesIn(server.project.folder), [this.#worker]);
  }

  /** A good version comes in as ever. */
  async assertReloads(): Promise<void> {
    const { server } = this;
    await server.project.write("app.ts", PLAIN_APP.replace("one", "two"));
    await server.project.configure({ ...PATIENT, ...GOOD });
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(await ask(server, "/"), "two /");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }
}
