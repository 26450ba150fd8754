/** What is handed out is handed to a process that is held as it was meant to be, as the kernel sees it. */
import { HoldfastError } from "../base/error.ts";
import { readProcess } from "../os/file.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** What proc_pid_status(5) says of every process behind a wall. */
const HELD = {
  ...{ NoNewPrivs: "1", Seccomp: "2" },
  ...Object.fromEntries(["Inh", "Prm", "Eff", "Amb"].map((set) => [`Cap${set}`, "0".repeat(16)])),
};

/**
 * To be asked before a process is given a listener, or anything else. Where the kernel does not show the
 * process, as under `hidepid=`, it has asked about its exec through this wall's filter still. A
 * second program is on all threads, since the first lets none be on fewer.
 *
 * @throws {HoldfastError} if it is not
 */
export function requireConfined(worker: WorkerProcess): void {
  const { account, confined, displayName, programs } = worker;
  const text = readProcess(worker.pid!, "status");
  const inherited = readProcess(Deno.pid, "status")?.match(/^Seccomp_filters:\s*(\d+)/m)?.[1] ?? 0;
  const filters = { Seccomp_filters: String(Number(inherited) + programs) };
  const four = (id: number) => Array(4).fill(id).join("\t");
  const own = account && { Uid: four(account.uid), Gid: four(account.gid), Groups: "" };
  const meant = text === undefined ? {} : { ...HELD, ...filters, ...own };
  const found = Object.entries(meant).flatMap(([name, value]) => {
    const [, is] = text!.match(new RegExp(`^${name}:[ \\t]*(.*?) *$`, "m")) ?? [];
    return is === value ? [] : [`${name} is ${is}`];
  });
  if (confined && found.length === 0) return;
  const what = confined ? found.join(", ") : "it was not asked about";
  throw new HoldfastError(`${displayName} is not confined by the kernel: ${what}`, {
    kind: "bug",
    code: "wall_missing",
  });
}
