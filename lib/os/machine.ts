/** What the kernel says of this machine when it is asked; nothing of it is changed. */
import { errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const isArm = Deno.build.arch === "aarch64";
const SECCOMP = isArm ? 277n : 317n;
const PROCESS_VM_READV = isArm ? 270n : 310n;
const CREATE_RULESET = 444n;
const CREATE_RULESET_VERSION = 1n;
const SECCOMP_GET_NOTIF_SIZES = 3n;

/** More than any `struct timex`. */
const TIMEX_BYTES = 512;
/** What adjtimex(2) returns for a clock that nobody sets. */
const TIME_ERROR = 5;

const libc = loadLibc({
  syscall: { parameters: ["i64", "buffer", "u64", "u64"], result: "i64" },
  ask: {
    name: "syscall",
    parameters: ["i64", "i64", "buffer", "u64", "buffer", "u64", "u64"],
    result: "i64",
  },
  seccomp: { name: "syscall", parameters: ["i64", "u64", "u64", "buffer"], result: "i64" },
  adjtimex: { parameters: ["buffer"], result: "i32" },
  access: { parameters: ["buffer", "i32"], result: "i32" },
});

/** Why there is no Landlock, as an errno; 0 if there is. */
export function landlockErrno(): number {
  const abi = libc.symbols.syscall(CREATE_RULESET, null, 0n, CREATE_RULESET_VERSION);
  return abi < 0n ? errno() : 0;
}

/** Whether a supervisor can be asked about calls: seccomp's notifications are there, and may be used. */
export function hasSeccompNotifications(): boolean {
  return libc.symbols.seccomp(SECCOMP, SECCOMP_GET_NOTIF_SIZES, 0n, new Uint8Array(6)) === 0n;
}

/** Why the memory of a process of this user cannot be read, as an errno; 0 if it can: it asks for nothing. */
export function memoryErrno(): number {
  const none = new Uint8Array(16);
  const read = libc.symbols.ask(PROCESS_VM_READV, BigInt(Deno.pid), none, 0n, none, 0n, 0n);
  return read < 0n ? errno() : 0;
}

/** Whether something keeps this machine's clock right; nothing where it may not be asked. */
export function isClockSet(): boolean | undefined {
  // Its first number, which says what to change, is 0.
  const state = libc.symbols.adjtimex(new Uint8Array(TIMEX_BYTES));
  return state < 0 ? undefined : state !== TIME_ERROR;
}

const [R_OK, W_OK, X_OK] = [4, 2, 1];

/** Whether this process may use a path as the letters say, of `rwx` (access(2)). */
export function mayAccess(path: string, rights: string): boolean {
  const mode = (rights.includes("r") ? R_OK : 0) | (rights.includes("w") ? W_OK : 0) |
    (rights.includes("x") ? X_OK : 0);
  return libc.symbols.access(new TextEncoder().encode(`${path}\0`), mode) === 0;
}
