/**
 * Connections that keep a worker from everything else. Its runtime reads of one that floods as much as
 * there is, and the worker's own code has no turn meanwhile. From outside it shows whose fault that is:
 * more and more is read from one, before the worker says anything again.
 */
import { sleep } from "../base/sleep.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { bytesTaken, endConnection, lookAtConnections } from "../os/end_connections.ts";
import { readProcess } from "../os/file.ts";
import { PULSE_INTERVAL_MS } from "../protocol/limits.ts";

/** So late a worker is that is kept from everything else; where it is that late, no word is on its way. */
const [LATE_MS, SURE_MS] = [100, 400];
/** Of who means no harm it reads more in so much of its time, or nothing in one of so many such times. */
const [EVERY_MS, LEAST_RAN_MS, MUCH, TIMES] = [5, 8, 200_000, 3];
/** Who has sent less is none. So many are looked at, and after so long for those that have come. */
const [LEAST_TAKEN, MOST, ROUND_MS] = [8_192, 512, 1_000];

/**
 * Ends such connections of a process, and returns their clients. `heard` aborts when it says something
 * again, with how late that is by its own clock.
 */
export async function endHogs(pid: number, heard: AbortSignal): Promise<string[]> {
  const dueMs = performance.now() + PULSE_INTERVAL_MS;
  await sleep(PULSE_INTERVAL_MS + LATE_MS, heard);
  const suspects = new Map<string, { fd: number; taken: number; times: number; atMs: number }>();
  const ended = new Set<string>();
  /** Those that were found while it surely had not said anything yet. */
  const endUntil = (sureMs: number) => {
    for (const [peer, { fd, atMs }] of suspects) {
      if (atMs > sureMs || ended.has(peer)) continue;
      endConnection(fd, "dropped");
      ended.add(peer);
    }
  };
  let [lookedMs, ran] = [-Infinity, 0];
  for (; !heard.aborted; await sleep(EVERY_MS, heard)) {
    const nowMs = performance.now();
    if (nowMs - dueMs > SURE_MS) endUntil(nowMs);
    if (ranMs(pid) - ran < LEAST_RAN_MS) continue;
    ran = ranMs(pid);
    const more = [...suspects.values()].map(({ fd, taken }) => Math.max(0, bytesTaken(fd) - taken));
    const any = more.some((by) => by > 0);
    for (const [index, suspect] of [...suspects.values()].entries()) {
      const by = more[index]!;
      if (any) suspect.times = by > 0 && by < MUCH ? suspect.times + 1 : 0;
      suspect.taken += by;
      if (suspect.times >= TIMES) suspect.atMs = Math.min(suspect.atMs, nowMs);
    }
    if (nowMs - lookedMs < ROUND_MS) continue;
    lookedMs = nowMs;
    lookAtConnections(pid, 0, (fd, peer) => {
      const taken = bytesTaken(fd);
      if (taken < LEAST_TAKEN || suspects.has(peer) || suspects.size === MOST) return false;
      return suspects.set(peer, { fd, taken, times: 0, atMs: Infinity }).size > 0;
    });
  }
  endUntil(dueMs + heard.reason);
  for (const { fd } of suspects.values()) closeDescriptor(fd);
  return [...ended];
}

/** How long the main thread has run (proc_pid_schedstat(5)); what time it is where nobody says. */
const ranMs = (pid: number) =>
  Number(readProcess(pid, "schedstat")?.split(" ")[0]) / 1e6 || performance.now();
