/** What lies in a DENO_DIR. */
import { join } from "node:path";
import { unlessAbsent } from "../config/real_place.ts";

/** The packages' code, and what Deno knows of it; as opposed to what programs store in DENO_DIR. */
const CACHES = /^(npm|remote|gen|\w+_cache_v\d+(-shm|-wal)?)$/;

/** Finds what of DENO_DIR a worker's runtime reads; nothing where somebody has removed it. */
export function findCaches(denoDir: string): string[] {
  if (unlessAbsent(() => Deno.statSync(denoDir)).isDirectory !== true) return [];
  const names = Array.from(Deno.readDirSync(denoDir), ({ name }) => name);
  return names.filter((name) => CACHES.test(name)).sort().map((name) => join(denoDir, name));
}
