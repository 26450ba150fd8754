/**
 * What process 1 of a container owes: orphans become its children, and stay as zombies until it takes
 * their status. Deno waits for its own children only, and must not be robbed of theirs.
 */
import { readProcess } from "../os/file.ts";
import { reap } from "../os/exec.ts";
import { childState } from "../os/process.ts";

/** Deno takes the status of a child of its own in far less: a zombie that is seen twice is an orphan. */
const LOOK_INTERVAL_MS = 2_000;

/**
 * Takes the status of orphans from now on, if this is process 1.
 *
 * @returns ends it
 */
export function reapOrphans(): () => void {
  if (Deno.pid !== 1) return () => {};
  let seen = new Set<number>();
  const look = setInterval(() => {
    const zombies = childrenOfMain().filter((pid) => childState(pid) === "ended");
    seen = new Set(zombies.filter((pid) => !seen.has(pid) || !reap(pid)));
  }, LOOK_INTERVAL_MS);
  return () => clearInterval(look);
}

/** Orphans are given to the main thread (proc_pid_task(5)); what spawner threads start is not there. */
function childrenOfMain(): number[] {
  const text = readProcess(Deno.pid, `task/${Deno.pid}/children`) ?? "";
  // The last one may be cut where there are very many.
  return text.split(" ").slice(0, -1).map(Number);
}
