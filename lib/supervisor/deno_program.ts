/** Where the deno program lies that every process is started by, whatever lies there by now. */
import { spelledPath } from "../config/spelled_path.ts";
import { readProcess } from "../os/file.ts";

/** What the kernel adds to the name of a program that was replaced. */
const DELETED = / \(deleted\)$/;

let first: string | undefined;

/**
 * The path that this program had when it was asked for first. A newer one may lie there by now; asked
 * later, the kernel names the file that is gone. Where nothing is left there, as after an update that
 * puts each version into a folder of its own, it is the name by which this program was called.
 */
export function denoProgram(): string {
  first ??= Deno.execPath().replace(DELETED, "");
  if (isUsable(first)) return first;
  const called = calledBy();
  return called !== undefined && isUsable(called) ? called : first;
}

/** What an upgrade starts: what lies at the name by which this program was called. */
export function nextDenoProgram(): string {
  const called = calledBy();
  return called !== undefined && isUsable(called) ? called : denoProgram();
}

/** The name as it was typed, or as it is found in PATH; it may be a link that is moved. */
function calledBy(): string | undefined {
  const name = readProcess(Deno.pid, "cmdline")?.split("\0")[0];
  if (!name) return undefined;
  if (name.includes("/")) return spelledPath(name);
  const folders = (Deno.env.get("PATH") ?? "").split(":").filter((each) => each.startsWith("/"));
  return folders.map((folder) => `${folder}/${name}`).find(isUsable);
}

function isUsable(path: string): boolean {
  try {
    return Deno.statSync(path).isFile &&
      Deno.permissions.querySync({ name: "run", command: path }).state === "granted";
  } catch {
    return false;
  }
}
