/**
 * Connections that keep a worker from everything else. Its runtime reads one after the other, and of one
 * that floods as much as there is: the worker's own code has no turn meanwhile, and cannot see whose fault
 * that is. From outside it shows: more and more is read from one, and from no other.
 */
import { sleep } from "../base/sleep.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { bytesTaken, endConnection, lookAtConnections } from "../os/end_connections.ts";
import { readProcess } from "../os/file.ts";
import { PULSE_INTERVAL_MS } from "../protocol/limits.ts";

/** So late a worker is that is kept from everything else, and that is how often it is looked. */
const LATE_MS = 100;
const EVERY_MS = 10;
/** In so many looks in a row, with so much of its time between them, nobody is read who means no harm. */
const TIMES = 3;
const LEAST_RAN_MS = 8;
/** Where two have done it of late, others of their address that send so much at once do it too. */
const MANY = 2;
const LEAST_MORE = 4_096;
const OF_LATE_MS = 30_000;
/** Who has sent less is none. So many are looked at, and all are looked for anew after so long. */
const LEAST_TAKEN = 8_192;
const MOST = 512;
const ROUND_MS = 1_000;

export class Hogs {
  /** How many there were of each address, and when the last one was ended. */
  #counts = new Map<string, number>();
  #endedMs = 0;

  /**
   * Ends those of a process while it says nothing.
   *
   * @param heard aborts when it has said something
   * @returns their clients
   */
  async end(pid: number, heard: AbortSignal): Promise<string[]> {
    const ended: string[] = [];
    await sleep(PULSE_INTERVAL_MS + LATE_MS, heard);
    if (performance.now() - this.#endedMs > OF_LATE_MS) this.#counts.clear();
    while (!heard.aborted && ended.length < MOST) {
      const suspects: { copy: number; host: string; peer: string; taken: number; times: number }[] =
        [];
      lookAtConnections(pid, 0, (copy, peer) => {
        const [taken, host] = [bytesTaken(copy), peer.split(" ")[0]!];
        if (taken < LEAST_TAKEN || suspects.length === MOST) return false;
        return suspects.push({ copy, host, peer, taken, times: 0 }) > 0;
      });
      const round = AbortSignal.any([heard, AbortSignal.timeout(ROUND_MS)]);
      for (let ran = ranMs(pid); !round.aborted; await sleep(EVERY_MS, round)) {
        if (ranMs(pid) - ran < LEAST_RAN_MS) continue;
        ran = ranMs(pid);
        const more = suspects.map(({ copy, taken }) => Math.max(0, bytesTaken(copy) - taken));
        if (more.every((bytes) => bytes === 0)) continue;
        for (const [index, suspect] of suspects.entries()) {
          const count = this.#counts.get(suspect.host) ?? 0;
          suspect.times = more[index] === 0 ? 0 : suspect.times + 1;
          suspect.taken += more[index]!;
          if (suspect.times < TIMES && (count < MANY || more[index]! < LEAST_MORE)) continue;
          suspect.times = 0;
          endConnection(suspect.copy, "dropped");
          ended.push(suspect.peer);
          this.#counts.set(suspect.host, count + 1);
          this.#endedMs = performance.now();
        }
      }
      for (const { copy } of suspects) closeDescriptor(copy);
    }
    return ended;
  }
}

/** How long the main thread has run (proc_pid_schedstat(5)); what time it is where nobody says. */
function ranMs(pid: number): number {
  return Number(readProcess(pid, "schedstat")?.split(" ")[0]) / 1e6 || performance.now();
}
