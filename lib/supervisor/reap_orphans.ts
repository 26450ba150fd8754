/**
 * What process 1 of a container owes: orphans become its children, and stay as zombies until it takes
 * their status. Who waits for a child of its own must not be robbed of that.
 */
import { takeStatus } from "../os/child.ts";
import { readProcess } from "../os/file.ts";
import { childState } from "../os/process.ts";
import { children } from "./child_table.ts";

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
    const zombies = childrenOfMain()
      .filter((pid) => !children.has(pid) && childState(pid) === "ended");
    seen = new Set(zombies.filter((pid) => !seen.has(pid) || takeStatus(pid) === undefined));
  }, LOOK_INTERVAL_MS);
  return () => clearInterval(look);
}

/** Orphans are given to the main thread (proc_pid_task(5)), as children of a thread that ended are. */
function childrenOfMain(): number[] {
  const text = readProcess(Deno.pid, `task/${Deno.pid}/children`) ?? "";
  // The last one may be cut where there are very many.
  return text.split(" ").slice(0, -1).map(Number);
}
