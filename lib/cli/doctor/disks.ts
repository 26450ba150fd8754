/** The disks that folders are on, as the kernel lists them (proc_pid_mountinfo(5)). */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { covers } from "../../base/covers.ts";
import { realPlace, unlessAbsent } from "../../config/real_place.ts";
import type { DiskFacts } from "../../doctor/facts.ts";
import { readProc } from "../../os/file.ts";

interface Mount {
  readonly point: string;
  readonly type: string;
  readonly options: readonly string[];
}

/** Far more than a machine's. */
const MAX_BYTES = 4 * 2 ** 20;

/** The mounts in a text of mountinfo; the last of one place is the one that is seen. */
export function parseMounts(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const [before, after] = line.split(" - ");
    const [, , , , point, options] = before!.split(" ");
    const [type, , more = ""] = after?.split(" ") ?? [];
    if (point === undefined || options === undefined || type === undefined) return [];
    const plain = point.replace(/\\(\d{3})/g, (_, code) => String.fromCharCode(parseInt(code, 8)));
    return [{ point: plain, type, options: [...options.split(","), ...more.split(",")] }];
  });
}

/** The mount that a path is on. */
export function mountOf(path: string, mounts: readonly Mount[]): Mount | undefined {
  return mounts.filter(({ point }) => covers(point, path))
    .reduce<Mount | undefined>(
      (best, each) => best && best.point.length > each.point.length ? best : each,
      undefined,
    );
}

/** What is known of each folder's disk; of one that is not there yet, of where it would be made. */
export function readDisks(
  folders: readonly Pick<DiskFacts, "what" | "kind" | "path">[],
): DiskFacts[] {
  const mounts = parseMounts(readProc("self/mountinfo", MAX_BYTES) ?? "");
  return folders.map((each) => {
    let path = realPlace(each.path);
    while (path !== "/" && unlessAbsent(() => Deno.lstatSync(path)).mode === undefined) {
      path = dirname(path);
    }
    const mount = mountOf(path, mounts);
    return { ...each, type: mount?.type, options: mount?.options ?? [], ...roomOf(path) };
  });
}

function roomOf(path: string): Pick<DiskFacts, "freeBytes" | "freeFiles"> {
  try {
    const { bavail, bsize, ffree } = statfsSync(path);
    return { freeBytes: Number(bavail) * Number(bsize), freeFiles: Number(ffree) };
  } catch {
    return { freeBytes: undefined, freeFiles: undefined };
  }
}
