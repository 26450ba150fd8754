/** The auditor's client of a process: HTTP for a worker, calls for the others. */
import process from "node:process";
import { socketPair } from "../os/socket.ts";
import { serialize } from "../protocol/call.ts";
import { HoldfastError } from "../base/error.ts";
import { roleText } from "../protocol/role.ts";
import type { WorkerProcess } from "../supervisor/worker_process.ts";
import { HelperLane } from "../worker/helper_lane.ts";
import { type Order, Report } from "./attempt.ts";

/** How long the subject may take to answer; longer than its own timeout. */
const ANSWER_MS = 45_000;

/** How long a process may take to show that it answers; a busy machine takes its time. */
const ALIVE_MS = 30_000;

/** How the auditor talks to a process. */
export interface Client {
  /**
   * Has it make an attempt.
   *
   * @throws if it does not answer in time, or cannot
   */
  runAttempt(order: Order): Promise<Report>;
  /** Whether it still answers other clients. */
  answers(): Promise<boolean>;
}

/** To a worker, over HTTP. */
export function httpClient(address: string): Client {
  const url = `http://${address}/`;
  // A kept connection would outlive its process.
  const headers = { connection: "close" };
  return {
    async runAttempt(order) {
      const signal = AbortSignal.timeout(ANSWER_MS);
      const body = JSON.stringify(order);
      const response = await fetch(url, { method: "POST", headers, body, signal });
      if (response.status !== 200) {
        throw new HoldfastError(await response.text(), { kind: "bug", code: "audit_order" });
      }
      return Report.parse(await response.json());
    },
    answers: () =>
      holds(async () => {
        const response = await fetch(url, { headers, signal: AbortSignal.timeout(ALIVE_MS) });
        return await response.text() === "alive";
      }),
  };
}

/** To a helper, over the auditor's own lane, which ends with the helper. */
export async function callClient(helper: WorkerProcess): Promise<Client> {
  const [own, theirs] = socketPair();
  helper.handOver([{
    descriptor: theirs,
    kind: { family: "unix", use: "stream" },
    message: { type: "worker_lane", worker: 0 },
  }]);
  const opened = Promise.withResolvers<void>();
  const ended = new AbortController();
  const { Pipe } = (process as unknown as Bindings).binding("pipe_wrap");
  const handle = new Pipe(/* a stream */ 0);
  handle.open(own);
  const lane = new HelperLane(roleText(helper.role), handle, {
    opened: opened.resolve,
    freed: () => {},
    closed: () => ended.abort(new Error("The lane was closed")),
  });
  await Promise.race([
    opened.promise,
    helper.failed(AbortSignal.any([ended.signal, AbortSignal.timeout(ANSWER_MS)])),
  ]);
  const call = (method: string, input: unknown, ms: number) =>
    lane.call(method, serialize(input), ms, AbortSignal.timeout(ms));
  return {
    runAttempt: async (order) => Report.parse(await call("runAttempt", order, ANSWER_MS)),
    answers: () => holds(async () => await call("wait", 0, ALIVE_MS) === "alive"),
  };
}

/** The part of Node's inner bindings that makes a socket of a descriptor. */
interface Bindings {
  binding(name: "pipe_wrap"): { Pipe: new (type: number) => { open(fd: number): number } };
}

async function holds(question: () => Promise<boolean>): Promise<boolean> {
  try {
    return await question();
  } catch {
    return false;
  }
}
