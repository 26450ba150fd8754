/** What the supervisor itself can no longer do, and that a worker's alarm comes through all the same. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ownProgram } from "../lib/sandbox/own_filter.ts";
import {
  type Arch,
  ASKED,
  encodeProgram,
  numberOf,
  type SystemCall,
} from "../lib/sandbox/seccomp.ts";
import { ALARMS } from "../lib/sandbox/system_calls.ts";
import { AUDIT_ARCH, findProgramFaults, runProgram } from "./harness/bpf.ts";
import { testWith } from "./harness/needs.ts";
import { readStatus } from "./harness/process.ts";
import { REPOSITORY } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const [TRACE, ALLOW] = [0x7ff00000, 0x7fff0000];
const [ENOSYS, EPERM] = [38, 1];

Deno.test("the supervisor's own program leaves out what it never does, and nothing that its workers' ask about", () => {
  for (const arch of ["x86_64", "aarch64"] as const satisfies readonly Arch[]) {
    const program = encodeProgram(ownProgram(arch));
    assertEquals(findProgramFaults(program), []);
    const answer = (number: number, its: number = AUDIT_ARCH[arch]) =>
      runProgram(program, { arch: its, number, args: [] });
    const all = (calls: readonly SystemCall[]) =>
      new Set(calls.flatMap((call) => numberOf(call, arch) ?? []).map((number) => answer(number)));
    assertEquals(
      all(["ptrace", "bpf", "mount", "setns", "keyctl", "io_uring_setup", "kexec_load", "reboot"]),
      new Set([TRACE]),
    );
    const asked = ASKED.filter((call) => !Object.hasOwn(ALARMS, call));
    assertEquals(all([...asked, "socket", "seccomp", "prctl", "pidfd_getfd"]), new Set([ALLOW]));
    assertEquals(answer(39, 0x40000003), TRACE, "another architecture");
  }
});

testWith(
  { missing: Deno.build.os === "linux" ? undefined : "not Linux" },
  "every thread of a process has the program once, a call it leaves out does not exist, and a later program's question outranks it",
  async () => {
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(REPOSITORY, "tests/doubles/own_filter.ts")],
    }).output();
    const text = new TextDecoder();
    const { threads, ...found } = JSON.parse(
      text.decode(stdout) || JSON.stringify(text.decode(stderr)),
    );
    assert(threads.length > 1);
    assertEquals(new Set(threads).size, 1, `${threads}`);
    assertEquals(found, { before: ENOSYS, asked: true, after: EPERM });
  },
);

Deno.test("every thread of the supervisor has its own program, and an upgrade adds none", async () => {
  await using server = await Server.start();
  const look = () => {
    const threads = [...Deno.readDirSync(`/proc/${server.pid}/task`)].flatMap(({ name }) => {
      const status = readStatus(Number(name));
      return status ? [[status.NoNewPrivs, status.Seccomp, status.Seccomp_filters].join(" ")] : [];
    });
    return [...new Set(threads)];
  };
  const before = look();
  const own = Number(readStatus(Deno.pid)!.Seccomp_filters) + 1;
  assertEquals(before, [`1 2 ${own}`]);
  server.signal("SIGUSR2");
  await server.waitFor("serving", 2);
  await until("the same programs as before", () => look().join() === before.join());
  assertEquals(await server.text("/"), "one /");
});
