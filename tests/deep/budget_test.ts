/** What the kernel counts for all processes of a user together: a worker cannot use up the supervisor's. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { numberOf } from "../../lib/sandbox/seccomp.ts";
import { testWith } from "../harness/needs.ts";
import { tell } from "../harness/obeying_app.ts";
import { OrdinaryUser } from "../harness/ordinary_user.ts";
import { REPOSITORY } from "../harness/project.ts";

const DOUBLES = join(REPOSITORY, "tests/doubles");
const NATIVE_APP = `export { default } from "file://${DOUBLES}/native_app.ts";`;
const WIDE = [join(DOUBLES, "wide_supervisor.ts")];

/** Sends descriptors to itself, by many pairs of sockets, until the kernel takes no more of it. */
const PARK = `
  const [SENDMSG, SOCKETPAIR, EACH] = [${numberOf("sendmsg", "x86_64")}, 53, 200];
  const addressOf = (bytes) => BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
  const data = new Uint8Array(1);
  const part = new Uint8Array(new BigUint64Array([addressOf(data), 1n]).buffer);
  // struct cmsghdr: its length, SOL_SOCKET, SCM_RIGHTS, and one descriptor many times.
  const control = new Uint8Array(16 + 4 * EACH);
  const words = new DataView(control.buffer);
  words.setUint32(0, control.length, true);
  words.setInt32(8, 1, true);
  words.setInt32(12, 1, true);
  const header = new Uint8Array(56);
  const view = new DataView(header.buffer);
  view.setBigUint64(16, addressOf(part), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, addressOf(control), true);
  view.setBigUint64(40, BigInt(control.length), true);
  globalThis.kept = [data, part, control];
  let parked = 0;
  while (true) {
    const pair = new Uint8Array(8);
    if (native.call(SOCKETPAIR, 1, 1, 0, pair) !== 0) return [parked, "no pair"];
    const [one] = new Int32Array(pair.buffer);
    for (let n = 0; n < EACH; n++) words.setInt32(16 + 4 * n, one, true);
    while (true) {
      const sent = native.call(SENDMSG, one, header, 0x40);
      if (sent === -11) break;
      if (sent !== 1) return [parked, sent];
      parked += EACH;
    }
  }`;

testWith(
  { root: true, missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64" },
  "a worker that has parked all the descriptors it can does not keep the next reload from its listeners",
  async () => {
    await using user = await OrdinaryUser.create();
    await using server = await user.start({
      files: { "app.ts": NATIVE_APP },
      config: { onViolation: "log", reload: { drainDeadlineMs: 500, idleGraceMs: 0 } },
      entry: WIDE,
      limit: 4_096,
    });
    const [parked, ended] = (await tell(server, PARK)).ok as [number, unknown];
    assert(parked > 0 && ended === -109, `${parked}, ${ended}`);
    const { event, reason } = await server.hangUp();
    assertEquals(event, "reload_done", `${reason}, after ${parked}`);
    assertEquals(await tell(server, "return 1"), { ok: 1 });
  },
);

testWith(
  { root: true, missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64" },
  "a worker that has used up what its user may send, as it can without a wall, is killed for it",
  async () => {
    await using user = await OrdinaryUser.create();
    await using server = await user.start({
      files: { "app.ts": NATIVE_APP },
      config: { wall: "deno" },
      entry: WIDE,
      limit: 4_096,
    });
    const [worker] = await server.workers();
    await tell(server, PARK).catch(() => {});
    const { pid, killed } = await server.waitFor("descriptors_used_up");
    assertEquals([pid, killed], [worker, true]);
    await server.waitFor("worker_ready", 2);
    const { event, reason } = await server.hangUp();
    assertEquals(event, "reload_done", `${reason}`);
    assertEquals(await tell(server, "return 1"), { ok: 1 });
  },
);

/**
 * Code that has descriptors watched, up to a number or as many times as the kernel lets it.
 *
 * @param most such as `1000`
 */
const watching = (most: string) => `
  const { symbols: { syscall } } = Deno.dlopen("libc.so.6", {
    syscall: { parameters: ["i64", "i64", "i64", "i64", "buffer"], result: "i64" },
  });
  const [SOCKETPAIR, DUP, CREATE, CONTROL] = [53n, 32n, 291n, 233n];
  const pair = new Uint8Array(8), event = new Uint8Array(12);
  syscall(SOCKETPAIR, 1n, 1n, 0n, pair);
  const [one] = new Int32Array(pair.buffer);
  const fds = [];
  for (let fd; fds.length < 8_000 && (fd = syscall(DUP, BigInt(one), 0n, 0n, null)) >= 0n;) {
    fds.push(fd);
  }
  let left = ${most};
  fill: for (let epoll; (epoll = syscall(CREATE, 0n, 0n, 0n, null)) >= 0n;) {
    for (const fd of fds) {
      if (left-- <= 0 || syscall(CONTROL, epoll, 1n, fd, event) !== 0n) break fill;
    }
  }`;

/** What is left of the user's budget for its worker: the rest would take it minutes. */
const LEFT = 300_000;

/** What a user may watch on this machine: a part of its memory. */
const WATCHES = Number(Deno.readTextFileSync("/proc/sys/fs/epoll/max_user_watches"));

/** Why that takes too long to use up, if it does. */
const whyTooMany = Deno.build.arch !== "x86_64"
  ? "not x86_64"
  : WATCHES > 8_000_000
  ? `${WATCHES} watches are too many to be used up`
  : undefined;

testWith(
  { root: true, missing: whyTooMany },
  "a worker that has used up what its user may watch is killed for it, and the supervisor lives and reloads",
  async () => {
    await using user = await OrdinaryUser.create();
    const other = user.evaluate(
      `${watching(`${WATCHES - LEFT}`)} console.log("watches"); setInterval(() => {}, 1000);`,
    );
    try {
      const said = other.stdout.getReader();
      await said.read();
      said.releaseLock();
      await using server = await user.start({
        files: { "app.ts": NATIVE_APP },
        config: { watchdog: { pulseDeadlineMs: 0 } },
        entry: WIDE,
      });
      const [worker] = await server.workers();
      const filling = tell(server, watching("Infinity")).catch(() => {});
      const { pid, killed } = await server.waitFor("watches_used_up");
      assertEquals([pid, killed], [worker, true]);
      await filling;
      await server.waitFor("worker_ready", 2);
      const { event, reason } = await server.hangUp();
      assertEquals(event, "reload_done", `${reason}`);
      assertEquals(await tell(server, "return 1"), { ok: 1 });
    } finally {
      other.kill("SIGKILL");
      await other.stdout.cancel();
      await other.status;
    }
  },
);

testWith(
  { root: true },
  "a supervisor that can start no thread refuses a reload with the reason, and the old version serves",
  async () => {
    await using user = await OrdinaryUser.create();
    await using server = await user.start({});
    const workers = await server.workers();
    const limits = Deno.readTextFileSync(`/proc/${server.pid}/limits`);
    const [, hard] = /^Max processes +\S+ +(\S+)/m.exec(limits)!;
    await user.limitThreads(server.pid, "1");
    const refused = await server.hangUp();
    assertEquals(refused.event, "reload_refused");
    assertStringIncludes(`${refused.reason}`, "Cannot start a thread");
    assertEquals([await server.text("/"), await server.workers()], ["one /", workers]);
    await user.limitThreads(server.pid, hard!);
    const { event, reason } = await server.hangUp();
    assertEquals(event, "reload_done", `${reason}`);
  },
);
