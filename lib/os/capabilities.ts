/** Capabilities of the calling thread, and so of what it starts (capabilities(7)). */
import { fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const CAPGET = Deno.build.arch === "aarch64" ? 90n : 125n;
const CAPSET = Deno.build.arch === "aarch64" ? 91n : 126n;
const VERSION = 0x20080522;

const PR_SET_SECUREBITS = 28;
const PR_CAPBSET_DROP = 24;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4n;
/** SECBIT_NOROOT and NO_CAP_AMBIENT_RAISE set, NO_SETUID_FIXUP and KEEP_CAPS not, and all locked. */
const SECUREBITS = 0xebn;

const CAPABILITIES = {
  ...{ chown: 0, override: 1, readSearch: 2, setGid: 6, setUid: 7, setPcap: 8 },
} as const;
type Capability = keyof typeof CAPABILITIES;

const libc = loadLibc({
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  capability: { name: "syscall", parameters: ["i64", "buffer", "buffer"], result: "i64" },
});

/**
 * Drops the capabilities of the calling thread, which no_new_privs keeps from coming back.
 *
 * @param kept what the thread needs still, if it has that
 * @param untilExec whether the program that it starts is to have none of it either, as root too
 * @throws {Error} if the kernel refuses
 */
export function dropCapabilities(kept: readonly Capability[], untilExec: boolean): void {
  const header = new Uint8Array(new Uint32Array([VERSION, 0]).buffer);
  // Effective, permitted and inheritable, of 32 capabilities each time.
  const sets = new Uint32Array(6);
  const bytes = new Uint8Array(sets.buffer);
  if (libc.symbols.capability(CAPGET, header, bytes) !== 0n) fail("read the capabilities");
  // A service manager's filter may know the next call as one of root's alone.
  if (sets.every((set) => set === 0)) return;
  const locks = (sets[0]! & maskOf(["setPcap"])) !== 0;
  if (untilExec && locks) lockRoot();
  if (libc.symbols.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0n, 0n, 0n) !== 0) {
    fail("clear the ambient capabilities");
  }
  // What root keeps and cannot lock, the exec would keep. Of an account it takes all.
  const mask = untilExec && !locks && !kept.includes("setUid") ? 0 : maskOf(kept);
  sets.set([mask & sets[0]!, mask & sets[1]!, 0, 0, 0, 0]);
  if (libc.symbols.capability(CAPSET, header, bytes) !== 0n) fail("drop the capabilities");
}

function maskOf(names: readonly Capability[]): number {
  return names.reduce((mask, name) => mask | 1 << CAPABILITIES[name], 0);
}

/** Takes from root's user id, for good, what it means to an exec. */
function lockRoot(): void {
  // The first number that the kernel does not know ends it.
  let capability = 0n;
  while (libc.symbols.prctl(PR_CAPBSET_DROP, capability, 0n, 0n, 0n) === 0) capability++;
  if (libc.symbols.prctl(PR_SET_SECUREBITS, SECUREBITS, 0n, 0n, 0n) !== 0) {
    fail("set the securebits");
  }
}
