/** What an attempt to escape is, and what the subject and its auditor say to each other about it. */
import * as z from "zod/mini";

/**
 * What a layer is expected to do about an attempt by itself.
 *
 * - `stops`: it refuses.
 * - `open`: it lets it through; the other layer must stop it.
 * - `contained`: it may happen, within a bound that the attempt itself checks.
 */
export type Expectation = "stops" | "open" | "contained";

/** The kinds of processes that a subject may run as. */
export type Kind = "worker" | "helper" | "logger" | "metrics" | "resolver";

/**
 * How the auditor, from outside, knows that an attempt got through.
 *
 * - `secret`: what it returned holds the secret that lies outside the subject's reach.
 * - `change`: something of the world outside the subject's folder has changed, its times included.
 * - `contact`: one of the canary servers heard from it.
 * - `canary`: the canary process is gone or stopped.
 * - `ended`: the subject is gone, in the way that `end` tells, and its sibling is not.
 * - `bounded`: it returned something, and no other process was harmed: every other process lives,
 *   answers others, and holds no file that the subject has sent it. For what is contained.
 * - `claim`: it returned something other than `false`, `null` or `undefined`; for what cannot be seen from outside.
 */
export type Proof = "secret" | "change" | "contact" | "canary" | "ended" | "bounded" | "claim";

export const AREAS = [
  "read",
  "write",
  "execute",
  "network",
  "process",
  "secrets",
  "persistence",
  "channel",
  "helper",
  "exhaustion",
] as const;
export type Area = typeof AREAS[number];

/** One attempt to get at something that is not the app's. */
export interface Attempt {
  /** Its number in the catalogue, such as `FR3`, with a variant: `FR3.relative`. */
  readonly id: string;
  readonly area: Area;
  /** What is attempted, in a few words. */
  readonly title: string;
  /** What Deno's permissions do about it. */
  readonly deno: Expectation;
  /** What Landlock, seccomp and the limits do about it. */
  readonly kernel: Expectation;
  /** Why a layer leaves it open or bounds it only; a Deno advisory, if it is one. */
  readonly note?: string;
  /**
   * The kernel leaves it open for a process that may connect (to anybody, or by names, which are looked
   * up by datagrams, from a port that it may bind), that loads libraries, or that has native code of its
   * own and no second program.
   */
  readonly openWith?: "anybody" | "names" | "binding" | "libraries" | "native";
  /**
   * The kernel refuses it to a process that may dial names, whose messages could have an address, or
   * whose engine interprets alone.
   */
  readonly closedWith?: "names" | "jitless";
  readonly proof: Proof;
  /** Makes sense in some kinds of processes alone, and why it does not in the others. */
  readonly only?: { readonly in: readonly Kind[]; readonly since: string };
  /** Makes sense where HTTPS is served alone. */
  readonly withTls?: true;
  /** Runs in a separate process: it may end it, or leave it changed. */
  readonly alone?: true;
  /** The subject may die of it; without the proof that counts as a refusal. */
  readonly fatal?: true;
  /** For the proof `ended`: how its end must read. */
  readonly end?: RegExp;
  /** Uses up what the machine has: only with `--stress`, and never without a wall. */
  readonly stress?: true;
  /** Without this, not even an unprotected process could do it. */
  readonly needs?: "root";
  /** Not every machine has it or allows it; where it is refused without any wall, it is skipped. */
  readonly optional?: true;
  /** How a refusal may read, besides the usual names and codes. */
  readonly refusal?: RegExp;
  /**
   * Runs in the subject. It returns what it got, and throws if it was refused. It must not harm
   * anything but what the world names.
   */
  run(world: World): unknown;
}

const Port = z.int().check(z.minimum(1), z.maximum(65_535));

/** What attempts may aim at. All of it is throw-away, except what is marked as real. */
export const World = z.strictObject({
  /** Holds everything below. */
  folder: z.string(),
  /** Not unveiled: `secret.txt`, `secret.json`, `secret.mjs`, `secret.db` (a SQLite table `secrets`), `secret.map`, `.env`, `node_modules/package/index.json`, `file.txt`, `folder/`. */
  outside: z.string(),
  /** Unveiled `rwc`: `file.txt`; `link` and `relative_link` to `outside/secret.txt`, `folder_link` to `outside`, `proc_link` to /proc/self/environ, `write_link` to `outside/file.txt`, `socket_link` to {@link World.unixSocket}. */
  inside: z.string(),
  /** Unveiled `r`: `file.txt`. */
  readable: z.string(),
  /** Unveiled `w`: `file.txt`. */
  writable: z.string(),
  /** Unveiled `c`: `file.txt`. */
  creatable: z.string(),
  /** Unveiled `rw`, and given up when the app had opened: `file.txt`, `secret.txt`. */
  dropped: z.string(),
  /** Unveiled `rwc`, as a private temporary folder is; one of another process lies beside it: `secret.txt`. */
  temporary: z.string(),
  otherTemporary: z.string(),
  /** Not unveiled, and `inside` is the beginning of its name: `secret.txt`. */
  twin: z.string(),
  /** Servers on 127.0.0.1 that count who speaks to them. */
  tcpPort: Port,
  udpPort: Port,
  /** Nothing listens there. */
  freePort: Port,
  /** A server's socket, in a folder that is not unveiled. */
  unixSocket: z.string(),
  /** The same, in `inside`. */
  insideSocket: z.string(),
  /** A Unix socket that the config lets it dial, if there is one. Real: never dial it. */
  dialled: z.string(),
  /** The abstract Unix socket of a server: its name without the first NUL. */
  abstractSocket: z.string(),
  /** A process of the same user, with the secret in its environment. */
  canaryPid: z.int(),
  /** Another process of the same kind: another worker, or another instance of the same helper. */
  siblingPid: z.int(),
  /** A helper of the same config that the subject is not; a worker has a lane to it. */
  helperPid: z.int(),
  helperName: z.string(),
  /** Unveiled `rwc` to that helper alone: `secret.txt`, `file.txt`. */
  helperFolder: z.string(),
  /** That helper alone may dial it. */
  helperPort: Port,
  /** A worker of the same config; if the subject is a helper, it has a lane to it. */
  workerPid: z.int(),
  /** Unveiled `rwc` to that worker alone: `secret.txt`, `file.txt`. */
  workerFolder: z.string(),
  /** That worker alone may dial it. */
  workerPort: Port,
  /** The auditor, which acts as the supervisor; the secret is in its memory. Real: signal it 0 only. */
  supervisorPid: z.int(),
  supervisorThreads: z.array(z.int()),
  /** Real: never change them. */
  configFile: z.string(),
  module: z.string(),
  project: z.string(),
  denoDir: z.string(),
  denoProgram: z.string(),
  runtime: z.string(),
  /** The private key of HTTPS, where that is served. */
  keyFile: z.string(),
  /** Differs from attempt to attempt. */
  nonce: z.string(),
});
export type World = z.infer<typeof World>;

/** What the auditor tells the subject. */
export const Order = z.strictObject({ id: z.string(), world: World });
export type Order = z.infer<typeof Order>;

/** The outcome as the subject reports it; it counts only with a proof. */
export const Report = z.strictObject({
  returned: z.optional(z.string()),
  thrown: z.optional(z.strictObject({
    name: z.string(),
    code: z.string(),
    message: z.string(),
  })),
});
export type Report = z.infer<typeof Report>;
