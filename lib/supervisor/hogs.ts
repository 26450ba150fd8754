/**
 * Connections that keep a worker from everything else. Its runtime reads of one that floods as much as
 * there is, and the worker's own code has no turn meanwhile. From outside it shows whose fault that is:
 * more and more is read from one, and from no other.
 */
import { sleep } from "../base/sleep.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { bytesTaken, endConnection, lookAtConnections } from "../os/end_connections.ts";
import { readProcess } from "../os/file.ts";
import { PULSE_INTERVAL_MS } from "../protocol/limits.ts";

/** So late a worker is that is kept from everything else, and that is how often it is looked. */
const [LATE_MS, EVERY_MS] = [100, 10];
/** In so many looks in a row, with so much of its time between them, nobody is read who means no harm. */
const [TIMES, LEAST_RAN_MS] = [3, 8];
/** Where two have done it of late, others of their address that send so much at once do it too. */
const [MANY, OF_LATE_MS, LEAST_MORE] = [2, 30_000, 4_096];
/** Who has sent less is none. So many are looked at, and all are looked for anew after so long. */
const [LEAST_TAKEN, MOST, ROUND_MS] = [8_192, 512, 1_000];

export class Hogs {
  /** How many there were of each address, and when the last one was ended. */
  readonly #counts = new Map<string, number>();
  #endedMs = 0;

  /** Ends those of a process until `heard` says that it has said something; @returns their clients */
  async end(pid: number, heard: AbortSignal): Promise<string[]> {
    const ended: string[] = [];
    await sleep(PULSE_INTERVAL_MS + LATE_MS, heard);
    if (performance.now() - this.#endedMs > OF_LATE_MS) this.#counts.clear();
    while (!heard.aborted && ended.length < MOST) {
      const suspects: { fd: number; host: string; peer: string; taken: number; times: number }[] =
        [];
      lookAtConnections(pid, 0, (fd, peer) => {
        const [taken, host] = [bytesTaken(fd), peer.split(" ")[0]!];
        if (taken < LEAST_TAKEN || suspects.length === MOST) return false;
        return suspects.push({ fd, host, peer, taken, times: 0 }) > 0;
      });
      const round = AbortSignal.any([heard, AbortSignal.timeout(ROUND_MS)]);
      for (let ran = ranMs(pid); !round.aborted; await sleep(EVERY_MS, round)) {
        if (ranMs(pid) - ran < LEAST_RAN_MS) continue;
        ran = ranMs(pid);
        const more = suspects.map(({ fd, taken }) => Math.max(0, bytesTaken(fd) - taken));
        if (more.every((bytes) => bytes === 0)) continue;
        for (const [index, suspect] of suspects.entries()) {
          const count = this.#counts.get(suspect.host) ?? 0;
          suspect.times = more[index] === 0 ? 0 : suspect.times + 1;
          suspect.taken += more[index]!;
          if (suspect.times < TIMES && (count < MANY || more[index]! < LEAST_MORE)) continue;
          endConnection(suspect.fd, "dropped");
          ended.push(suspect.peer);
          this.#counts.set(suspect.host, count + 1);
          this.#endedMs = performance.now();
        }
      }
      for (const { fd } of suspects) closeDescriptor(fd);
    }
    return ended;
  }
}

/** How long the main thread has run (proc_pid_schedstat(5)); what time it is where nobody says. */
function ranMs(pid: number): number {
  return Number(readProcess(pid, "schedstat")?.split(" ")[0]) / 1e6 || performance.now();
}
