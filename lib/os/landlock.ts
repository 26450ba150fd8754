/**
 * Enforces a Landlock policy on the calling thread, for good (landlock(7)). What the thread forks
 * afterwards inherits it.
 */
import {
  fsMask,
  type LandlockPolicy,
  type PathRule,
  portRules,
  rulesetAttributes,
} from "../sandbox/landlock.ts";
import { fail } from "./errno.ts";
import { isOpenFolder } from "./file.ts";
import { loadLibc } from "./libc.ts";

// The same numbers on every architecture.
const CREATE_RULESET = 444n;
const ADD_RULE = 445n;
const RESTRICT_SELF = 446n;

const CREATE_RULESET_VERSION = 1;
const RULE_PATH_BENEATH = 1;
const RULE_NET_PORT = 2;

const O_PATH_CLOEXEC = 0o12000000;
const PR_SET_NO_NEW_PRIVS = 38;

const libc = loadLibc({
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  createRuleset: { name: "syscall", parameters: ["i64", "buffer", "u64", "u32"], result: "i64" },
  addRule: { name: "syscall", parameters: ["i64", "i32", "u32", "buffer", "u32"], result: "i64" },
  restrictSelf: { name: "syscall", parameters: ["i64", "i32", "u32"], result: "i64" },
});

/** The kernel's Landlock ABI; 0 if it has none, or it is not enabled. */
export function landlockAbi(): number {
  if (Deno.build.os !== "linux") return 0;
  const abi = Number(libc.symbols.createRuleset(CREATE_RULESET, null, 0n, CREATE_RULESET_VERSION));
  return Math.max(0, abi);
}

/** Prevents, for good, that an exec brings more rights (no_new_privs, prctl(2)). */
export function setNoNewPrivileges(): void {
  if (libc.symbols.prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) !== 0) fail("set no_new_privs");
}

/**
 * Confines the calling thread. {@link setNoNewPrivileges} comes first.
 *
 * @throws {Error} if the kernel refuses any part of it; the thread must end then
 */
export function restrictSelf(policy: LandlockPolicy, abi: number): void {
  const { fs, net, scoped } = rulesetAttributes(abi, policy);
  // An older kernel knows a shorter struct, and refuses one that is longer and not zero there.
  const attributes = new BigUint64Array([fs, net, scoped]);
  const size = abi >= 6 ? 24n : abi >= 4 ? 16n : 8n;
  const bytes = new Uint8Array(attributes.buffer);
  const ruleset = Number(libc.symbols.createRuleset(CREATE_RULESET, bytes, size, 0));
  if (ruleset < 0) fail("create a Landlock ruleset");
  try {
    for (const rule of policy.paths) addPath(ruleset, rule, abi);
    for (const [port, mask] of portRules(abi, policy)) {
      const attribute = new BigUint64Array([mask, BigInt(port)]);
      addRule(ruleset, RULE_NET_PORT, new Uint8Array(attribute.buffer), `port ${port}`);
    }
    // Without flags the kernel's audit log shows what was refused before the exec alone: what comes
    // after it could flood the log.
    const status = libc.symbols.restrictSelf(RESTRICT_SELF, ruleset, 0);
    if (status !== 0n) fail("confine this thread by Landlock");
  } finally {
    // Otherwise each failed try to start a worker would leak one.
    libc.symbols.close(ruleset);
  }
}

function addPath(ruleset: number, { path, rights, presence }: PathRule, abi: number): void {
  const fd = libc.symbols.open(new TextEncoder().encode(`${path}\0`), O_PATH_CLOEXEC);
  if (fd < 0) {
    if (presence === "optional") return;
    fail(`open ${path} for its Landlock rule`);
  }
  try {
    const kind = isOpenFolder(fd) ? "folder" : "file";
    const mask = fsMask(rights, abi, kind);
    if (mask === 0n) return;
    // struct landlock_path_beneath_attr is packed: 8 bytes of rights, 4 of descriptor.
    const attribute = new Uint8Array(12);
    const view = new DataView(attribute.buffer);
    view.setBigUint64(0, mask, true);
    view.setInt32(8, fd, true);
    addRule(ruleset, RULE_PATH_BENEATH, attribute, path);
  } finally {
    libc.symbols.close(fd);
  }
}

function addRule(
  ruleset: number,
  type: number,
  attribute: Uint8Array<ArrayBuffer>,
  what: string,
): void {
  if (libc.symbols.addRule(ADD_RULE, ruleset, type, attribute, 0) !== 0n) {
    fail(`add the Landlock rule of ${what}`);
  }
}
