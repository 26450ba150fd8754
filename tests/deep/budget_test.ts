/** What the kernel counts for all processes of a user together: a worker cannot use up the supervisor's. */
import { assert, assertEquals } from "@std/assert";
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
