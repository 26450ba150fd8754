/**
 * A supervisor that sees less of proc(5) than it used to: other processes are hidden from it, as by
 * ProtectProc= and ProcSubset= of a systemd unit, or there is none at all.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { type Arch, numberOf, type SystemCall } from "../lib/sandbox/seccomp.ts";
import { testWith } from "./harness/needs.ts";
import { readStatus } from "./harness/process.ts";
import { REPOSITORY } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const AS_ROOT = { programs: ["setpriv", "unshare"], root: true } as const;

/** Runs the rest of the command where proc(5) is mounted with these options, and without the right to trace. */
function seeing(options: string): string[] {
  const mount = `mount -t proc -o ${options} proc /proc`;
  // Who is in the group 0 sees all under hidepid=invisible: that is the mount's gid=.
  const ids = "--regid=65534 --clear-groups --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace";
  return ["unshare", "--mount", "sh", "-c", `${mount} && exec setpriv ${ids} "$0" "$@"`];
}

for (
  const options of [
    "hidepid=noaccess",
    "hidepid=invisible,subset=pid",
    "hidepid=ptraceable",
  ]
) {
  testWith(AS_ROOT, `with ${options} it starts, replaces its worker and reloads`, async () => {
    await using server = await Server.start({ prefix: seeing(options) });
    const [first] = await server.workers();
    const { NoNewPrivs, Seccomp } = readStatus(first!)!;
    assertEquals([NoNewPrivs, Seccomp], ["1", "2"]);
    Deno.kill(first!, "SIGKILL");
    await until("another worker", async () => {
      const [next] = await server.workers();
      return next !== undefined && next !== first;
    });
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(await server.text("/"), "one /");
    assertEquals(server.eventsOf("call_denied"), []);
  });
}

testWith(AS_ROOT, "without any /proc it ends with status 71 and says what is missing", async () => {
  await using server = await Server.start({
    prefix: ["unshare", "--mount", "sh", "-c", 'umount -l /proc && exec "$0" "$@"'],
    wait: "exit",
  });
  assertEquals((await server.ended).code, 71);
  assertStringIncludes(server.log, "No /proc is mounted here");
  assert(!server.log.includes("panicked"), server.log);
});

/** Runs the rest of the command without a system call: it fails with EPERM. */
function without(call: SystemCall): string[] {
  const number = numberOf(call, Deno.build.arch as Arch);
  return ["python3", join(REPOSITORY, "tests/doubles/without_call.py"), "1", `${number}`, "--"];
}

testWith(
  { programs: ["python3"] },
  "a spawner's child that may not become a worker is in the log with the reason, and so is the start's end",
  async () => {
    await using server = await Server.start({ prefix: without("setpgid"), wait: "exit" });
    assertEquals((await server.ended).code, 71);
    const [denied] = server.eventsOf("call_denied");
    assertEquals(denied!.call, "execve");
    assertStringIncludes(`${denied!.reason}`, "its own group: Operation not permitted");
    assertStringIncludes(server.log.split("\nholdfast: ")[1]!, `${denied!.reason}`);
  },
);
