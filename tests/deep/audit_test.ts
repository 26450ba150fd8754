/**
 * The audit, and whether it is able to fail: each test of the second kind takes one rule out of one
 * layer, and the audit must then say that something gets through.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { Area, Attempt, Report } from "../../lib/audit/attempt.ts";
import { ATTEMPTS } from "../../lib/audit/attempts/catalogue.ts";
import { formatAudit } from "../../lib/cli/audit_text.ts";
import { plain } from "../../lib/cli/text.ts";
import { audit } from "../../lib/audit/audit.ts";
import { type Mode, MODES } from "../../lib/audit/mode.ts";
import { type Line, summarize, type Summary } from "../../lib/audit/summary.ts";
import {
  classify,
  describe,
  expectedOutcome,
  isContained,
  type Result,
} from "../../lib/audit/verdict.ts";
import { configureLog } from "../../lib/base/log.ts";
import { type AnyCall, anyNumberOf } from "../../lib/sandbox/absent_calls.ts";
import type { Wall } from "../../lib/sandbox/wall.ts";
import { guestbookProject } from "../harness/guestbook.ts";
import { Project, type ProjectOptions, REPOSITORY } from "../harness/project.ts";
import { runCommand, runLongCommand } from "../harness/server.ts";

/** Only a hang makes it matter. */
const AUDIT_MS = 1_200_000;

const [NEITHER, DENO, KERNEL, BOTH] = MODES as [Mode, Mode, Mode, Mode];

function pick(ids: readonly string[]): Attempt[] {
  return ids.map((id) => {
    const attempt = ATTEMPTS.find((each) => each.id === id);
    assert(attempt, `no attempt ${id}`);
    return attempt;
  });
}

/** A guard looks twice a second whether it is still wanted, and outlives its test by that. */
function auditTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: false, sanitizeResources: false });
}

/** One helper that has nothing, and one that has a folder, an address and a variable. */
const HELPERS: ProjectOptions = {
  files: {
    "bare.ts": "export default {};",
    "keeper.ts": "export default {};",
    "kept/file.txt": "kept",
  },
  config: {
    log: { folder: "./log" },
    helpers: {
      bare: { module: "./bare.ts" },
      keeper: {
        module: "./keeper.ts",
        unveil: { "./kept": "rw" },
        net: ["127.0.0.1:9"],
        env: ["LANG"],
      },
    },
  },
};

/** Makes attempts of a plain project in one mode, with something changed. */
async function auditIn(
  mode: Mode,
  ids: readonly string[],
  change: Partial<Parameters<typeof audit>[0]>,
  options: ProjectOptions = {},
): Promise<Result[]> {
  await using project = await Project.create(options);
  configureLog("none");
  return await audit({
    configFile: project.configFile,
    attempts: pick(ids),
    modes: [mode],
    ...change,
  });
}

// ---- the whole ----

/** All attempts, in all modes and targets: this is the one run of it. */
Deno.test("nothing gets out of a process of the guestbook, in the way in which it ships", async () => {
  await using project = await guestbookProject();
  const { code, stdout, stderr } = await runLongCommand(AUDIT_MS, project, "audit", "--json");
  assertEquals(stderr, "");
  const { lines, counts, passed }: Summary = JSON.parse(stdout);
  const wrong = lines.filter(({ verdict }) => verdict === "failed" || verdict === "unproven");
  assertEquals(wrong, []);
  assertEquals([passed, code], [true, 0]);
  const targets = [...new Set(lines.map(({ process }) => process))];
  assertEquals(targets, ["worker", "helper thumbnails", "helper notify"]);
  for (const target of targets) assertComplete(lines, target, ATTEMPTS.length);
  // deno-lint-ignore no-console
  console.log(JSON.stringify(counts));
});

/** Every attempt was made against that target, or the reason is given. */
function assertComplete(lines: readonly Line[], target: string, attempts: number): void {
  const own = lines.filter(({ process }) => process === target);
  assertEquals(own.length, attempts);
  const skipped = own.filter(({ verdict }) => verdict === "skipped");
  // Only what is another's alone, what uses the machine up, or what this user could never do.
  assertEquals(skipped.filter(({ details }) => !details.both), []);
  assert(own.filter(({ verdict }) => verdict === "held").length >= 120);
}

/** What a helper's grants are about. */
const GRANTED: readonly Area[] = ["read", "write", "network", "secrets", "helper"];

auditTest(
  "nothing gets out of a helper with a folder, an address and a variable, nor out of the logger",
  async () => {
    await using project = await Project.create(HELPERS);
    configureLog("none");
    const isAsked = (area: Area, target: string) => target === "logger" || GRANTED.includes(area);
    const { lines, passed } = summarize(
      await audit({
        configFile: project.configFile,
        targets: ["helper keeper", "logger"],
        modes: [BOTH],
        chosen: ({ area }, target) => isAsked(area, target),
      }),
    );
    assertEquals(lines.filter(({ verdict }) => ["failed", "unproven"].includes(verdict)), []);
    assertEquals(passed, true);
    for (const target of ["helper keeper", "logger"]) {
      const asked = ATTEMPTS.filter(({ area }) => isAsked(area, target));
      assertComplete(lines, target, asked.length);
    }
  },
);

auditTest(
  "the audit names the target against which something got through, and mixes none up",
  async () => {
    const results = await auditIn(KERNEL, ["HG1.helper_native", "HG1.worker_native"], {
      targets: ["helper keeper", "worker"],
      alterWall: grantBeside("of_helper", "of_worker"),
    }, HELPERS);
    assertEquals(
      results.map(({ target, attempt, outcome }) => [target, attempt.id, outcome]).toSorted(),
      [
        ["helper keeper", "HG1.helper_native", "through"],
        ["helper keeper", "HG1.worker_native", "through"],
        ["worker", "HG1.helper_native", "through"],
        ["worker", "HG1.worker_native", "skipped"],
      ],
    );
    const { lines, passed } = summarize(results);
    assertEquals(passed, false);
    assertEquals(lines.map(({ process }) => process), [
      ...["worker", "worker", "helper keeper", "helper keeper"],
    ]);
    const view = { width: Infinity, paint: plain, all: false, facts: [] };
    const text = formatAudit(summarize(results), view);
    assertStringIncludes(text, "failed: HG1.helper_native against the helper keeper");
    assertStringIncludes(text, "THE WALL DOES NOT HOLD");
  },
);

Deno.test("every attempt has a number of its own, and says why a layer lets it through", () => {
  assert(ATTEMPTS.length >= 120);
  assertEquals(new Set(ATTEMPTS.map(({ id }) => id)).size, ATTEMPTS.length);
  const silent = ATTEMPTS.filter(({ deno, kernel, note }) =>
    (deno !== "stops" || kernel !== "stops") && note === undefined
  );
  assertEquals(silent.map(({ id }) => id), []);
  const open = ATTEMPTS.filter(({ deno, kernel }) => deno === "open" && kernel === "open");
  assertEquals(open.map(({ id }) => id), []);
});

Deno.test("the page of the docs has every attempt, and none that is gone", async () => {
  const page = await Deno.readTextFile(join(REPOSITORY, "docs/audit.md"));
  const ids = [...page.matchAll(/^\| ([A-Z]+\d[\w.]*) +\|/gm)].map(([, id]) => id!);
  assertStringIncludes(page, "The worker:");
  assertEquals(ids.toSorted(), ATTEMPTS.map(({ id }) => id).toSorted());
  assertStringIncludes(page, "Nothing got through.");
});

// ---- able to fail: the kernel's layer ----

const outside = (wall: Wall) => wall.forbidden.replace(/\/[^/]*$/, "");

/** Grants the folder that holds the canaries. */
function grant(...rights: Wall["landlock"]["paths"][number]["rights"]) {
  return (wall: Wall): Wall => ({
    ...wall,
    // The probe of the spawner would find it.
    forbidden: "/etc/shadow",
    landlock: {
      ...wall.landlock,
      paths: [...wall.landlock.paths, { path: outside(wall), rights, presence: "required" }],
    },
  });
}

/** Grants folders that lie beside the canaries. */
function grantBeside(...names: string[]) {
  return (wall: Wall): Wall => ({
    ...wall,
    landlock: {
      ...wall.landlock,
      paths: [
        ...wall.landlock.paths,
        ...names.map((name) => ({
          path: join(outside(wall), "..", name),
          rights: ["readFile", "readDir", "writeFile", "truncate", "makeReg"] as const,
          presence: "required" as const,
        })),
      ],
    },
  });
}

/** Has the program allow calls, whatever it says about them: a hole. */
function without(...calls: AnyCall[]) {
  return (wall: Wall): Wall => {
    const [LOAD, JUMP_IF_EQUAL, RETURN, ALLOW] = [0x20, 0x15, 0x06, 0x7fff0000];
    const start = wall.program.findIndex(([code, , , at]) => code === LOAD && at === 0) + 1;
    const holes = calls.flatMap((call) =>
      [
        [JUMP_IF_EQUAL, 0, 1, anyNumberOf(call, Deno.build.arch)!],
        [RETURN, 0, 0, ALLOW],
      ] as const
    );
    return { ...wall, program: wall.program.toSpliced(start, 0, ...holes) };
  };
}

const KERNEL_CASES: Record<string, [alter: (wall: Wall) => Wall, ids: string[]]> = {
  "Landlock lets a folder be read": [
    grant("readFile", "readDir"),
    ["FR1.native", "FR1.deno", "FR3.absolute", "FR1.list"],
  ],
  "Landlock lets files of a folder be written": [
    grant("writeFile", "truncate"),
    ["FW1.native_open", "FW5.write"],
  ],
  "Landlock lets files of a folder be emptied": [grant("truncate"), ["FW1.native_truncate"]],
  "Landlock lets files be made in a folder": [
    grant("makeReg", "writeFile"),
    ["FW1.create", "FW1.native_create"],
  ],
  "Landlock lets files be removed from a folder": [
    grant("removeFile"),
    ["FW1.remove", "FW1.native_unlink"],
  ],
  "Landlock lets w create": [
    (wall) => ({
      ...wall,
      landlock: {
        ...wall.landlock,
        paths: wall.landlock.paths.map((rule) =>
          rule.path.endsWith("/writable")
            ? { ...rule, rights: [...rule.rights, "makeReg", "removeFile"] }
            : rule
        ),
      },
    }),
    ["FW3.create", "FW3.remove"],
  ],
  "seccomp has no rule about chmod": [
    without("chmod", "fchmodat", "fchmodat2"),
    ["FW8.native_chmod_readable"],
  ],
  "seccomp has no rule about times": [without("utimensat"), ["FW6.native"]],
  "seccomp has no rule about attributes": [without("setxattr"), ["FW9.setxattr"]],
  "seccomp has no rule about inotify": [
    without("inotify_init1", "inotify_add_watch"),
    ["FR24.inotify"],
  ],
  "seccomp has no rule about ptrace": [without("ptrace"), ["SP5.traceme"]],
  "seccomp has no rule about keys": [without("add_key"), ["SP11.add_key"]],
  "seccomp has no rule about namespaces": [without("unshare"), ["SP13.unshare"]],
  "seccomp has no rule about clone3": [without("clone3"), ["EX7.clone3"]],
  "seccomp has no rule about memfd_create": [without("memfd_create"), ["SP11.memfd"]],
  "seccomp has no rule about io_uring": [without("io_uring_setup"), ["NW16.ring"]],
  "seccomp has no rule about sockets": [without("socket"), ["NW16.netlink", "NW16.algorithm"]],
  "seccomp and Landlock let it dial": [
    (wall) => ({
      ...without("socket", "connect")(wall),
      landlock: { ...wall.landlock, connect: "all" },
    }),
    ["NW1.connect", "NW1.native", "NW8.native"],
  ],
  "seccomp has no rule about datagrams": [
    without("socket", "sendto", "connect", "bind"),
    ["NW2.datagram"],
  ],
  "seccomp has no rule about socket options": [
    without("setsockopt"),
    ["NW14.option_so_attach_filter"],
  ],
  "seccomp has no rule about whom a socket signals": [
    without("ioctl"),
    ["SP4.owner_ioctl", "SP4.group_ioctl"],
  ],
  "seccomp has no rule about names of sockets": [without("bind"), ["NW9.native_name"]],
  "no second program is installed": [
    (wall) => ({ ...wall, code: undefined }),
    ["SP14.program", "SP14.pair", "SP14.close", "EX8.file", "EX3.planted_library"],
  ],
  "seccomp has no rule about limits": [without("prlimit64", "setrlimit"), [
    "SP9.limit_prlimit64",
  ]],
  "the limits are not set": [(wall) => ({ ...wall, limits: [] }), ["RE5.native"]],
};

for (const [what, [alter, ids]] of Object.entries(KERNEL_CASES)) {
  auditTest(`the audit fails where ${what}`, async () => {
    const results = await auditIn(KERNEL, ids, { alterWall: alter });
    for (const { attempt, outcome, detail, asExpected } of results) {
      assertEquals([attempt.id, outcome, asExpected], [attempt.id, "through", false], detail);
    }
    assertEquals(summarize(results).passed, false);
  });
}

// ---- able to fail: Deno's layer ----

const DENO_CASES: Record<string, [from: RegExp, to: string, ids: string[]]> = {
  read: [/^--(allow|deny)-read.*/, "--allow-read", ["FR1.deno", "FR1.node", "FR12.text"]],
  write: [/^--(allow|deny)-write.*/, "--allow-write", ["FW1.write", "FW1.node_write"]],
  net: [/^--deny-net/, "--allow-net", ["NW1.fetch", "NW2.net", "NW7.listen"]],
  env: [/^--ignore-env/, "--allow-env", ["SE1.get", "SE1.node"]],
  run: [/^--deny-run/, "--allow-run", ["EX1.output", "EX1.node_spawn"]],
  ffi: [/^--deny-ffi/, "--allow-ffi", ["FR1.native", "SP11.keyctl"]],
  sys: [/^--deny-sys/, "--allow-sys", ["SE7.hostname", "SE7.node_hostname"]],
};

for (const [kind, [from, to, ids]] of Object.entries(DENO_CASES)) {
  auditTest(`the audit fails where Deno's flags give ${kind} as a whole`, async () => {
    let changed = 0;
    const results = await auditIn(DENO, ids, {
      alterArguments: (args) =>
        args.map((arg) => {
          if (!from.test(arg)) return arg;
          changed++;
          return to;
        }).concat("wide"),
    });
    assertEquals(changed, 1);
    for (const { attempt, outcome, detail } of results) {
      assertEquals([attempt.id, outcome], [attempt.id, "through"], detail);
    }
    assertEquals(summarize(results).passed, false);
  });
}

// ---- able to fail: a helper's layers ----

const HELPER_CASES: Record<string, [mode: Mode, ids: string[], change: Change]> = {
  "Landlock gives it what another helper has": [
    KERNEL,
    ["HG1.helper_native", "HG2.helper_native"],
    { alterWall: grantBeside("of_helper") },
  ],
  "Landlock gives it what the worker has": [
    KERNEL,
    ["HG1.worker_native", "HG2.worker_native"],
    { alterWall: grantBeside("of_worker") },
  ],
  "seccomp and Landlock let it dial whom others may": [
    KERNEL,
    ["HG3.helper_native", "HG3.worker_native"],
    {
      alterWall: (wall) => ({
        ...without("socket", "connect")(wall),
        landlock: { ...wall.landlock, connect: "all" },
      }),
    },
  ],
  "seccomp has no rule about ptrace": [
    KERNEL,
    ["SP5.traceme"],
    { alterWall: without("ptrace") },
  ],
  "the logger's wall gives it what a worker has": [
    KERNEL,
    ["HG1.worker_native"],
    { targets: ["logger"], alterWall: grantBeside("of_worker") },
  ],
  "Deno's flags give it every file": [
    DENO,
    ["HG1.helper_read", "HG1.worker_node", "FR1.deno"],
    widen(/^--(allow|deny)-read.*/, "--allow-read"),
  ],
  "Deno's flags give it the network": [
    DENO,
    ["HG3.helper_dial", "HG3.worker_dial", "NW7.listen"],
    widen(/^--(allow|deny)-net.*/, "--allow-net"),
  ],
};

type Change = Partial<Parameters<typeof audit>[0]>;

/** Replaces a flag by another. */
function widen(from: RegExp, to: string): Change {
  return {
    alterArguments: (args) => {
      assert(args.some((arg) => from.test(arg)), `no flag ${from}`);
      return args.map((arg) => from.test(arg) ? to : arg).concat("wide");
    },
  };
}

for (const [what, [mode, ids, change]] of Object.entries(HELPER_CASES)) {
  auditTest(`the audit of a helper fails where ${what}`, async () => {
    const results = await auditIn(mode, ids, { targets: ["helper bare"], ...change }, HELPERS);
    assertEquals(results.length, ids.length);
    for (const { target, attempt, outcome, detail } of results) {
      const [expected] = change.targets ?? ["helper bare"];
      assertEquals([target, attempt.id, outcome], [expected, attempt.id, "through"], detail);
    }
    assertEquals(summarize(results).passed, false);
  });
}

auditTest("the audit fails where a process around the subject is harmed", async () => {
  const opened: Deno.FsFile[] = [];
  try {
    const ids = ["HL1.garbage", "HO1.native"];
    const results = await auditIn(KERNEL, ids, {
      targets: ["worker"],
      // The test is the supervisor here, and holds a file of the subject's making.
      alterWall: (wall) => {
        const path = join(outside(wall), "../inside/nonce-held");
        opened.push(Deno.openSync(path, { create: true, write: true }));
        return wall;
      },
    });
    assertEquals(results.map(({ outcome }) => outcome), ["unclear", "unclear"]);
    for (const { detail } of results) {
      assertEquals(detail, `process ${Deno.pid} holds what it was sent`);
    }
    assertEquals(summarize(results).passed, false);
  } finally {
    for (const file of opened) file.close();
  }
});

auditTest(
  "an attempt that does not work without any wall proves nothing, and fails the audit",
  async () => {
    const [sample] = pick(["FR1.deno"]);
    const broken = { ...sample!, id: "FR1.native", run: () => {} };
    const results = await auditIn(NEITHER, [], { attempts: [{ ...broken, proof: "canary" }] });
    assertEquals(results.map(({ outcome }) => outcome), ["unclear"]);
    const { lines, passed } = summarize(results);
    assertEquals([lines[0]!.verdict, passed], ["unproven", false]);
  },
);

// ---- verdicts ----

const SAMPLE = pick(["FR1.deno"])[0]!;

Deno.test("a refusal is one by its name, its code or its text, and nothing else is", () => {
  const thrown = (name: string, code: string, message: string): Report => ({
    thrown: { name, code, message },
  });
  const cases: [Report, string][] = [
    [thrown("NotCapable", "", "Requires read access"), "refused"],
    [thrown("Error", "EACCES", "no"), "refused"],
    [thrown("Error", "", "failed (os error 13)"), "refused"],
    [thrown("NotFound", "ENOENT", "No such file (os error 2)"), "refused"],
    [thrown("TypeError", "", "x is not a function"), "unclear"],
    [thrown("Error", "", "It took too long"), "unclear"],
    [{ returned: "something else" }, "unclear"],
  ];
  for (const [report, outcome] of cases) {
    assertEquals(classify(SAMPLE, { report, proven: false }), outcome, JSON.stringify(report));
    // What was seen from outside counts, whatever the subject says.
    assertEquals(classify(SAMPLE, { report, proven: true }), "through");
  }
  const death = { report: undefined, proven: false, death: "killed by SIGKILL" };
  assertEquals(classify(SAMPLE, death), "unclear");
  assertEquals(classify({ ...SAMPLE, fatal: true }, death), "refused");
  assertEquals(describe(death), "killed by SIGKILL");
});

Deno.test("what a mode should make of an attempt follows from its layers alone", () => {
  const expected = (deno: Attempt["deno"], kernel: Attempt["kernel"]) =>
    MODES.map((mode) => expectedOutcome({ ...SAMPLE, deno, kernel }, mode));
  assertEquals(expected("stops", "stops"), ["through", "refused", "refused", "refused"]);
  assertEquals(expected("open", "stops"), ["through", "through", "refused", "refused"]);
  assertEquals(expected("stops", "open"), ["through", "refused", "through", "refused"]);
  assertEquals(expected("contained", "contained"), Array(4).fill("through"));
});

Deno.test("an audit passes only if every attempt is held, or contained by what is known", () => {
  const verdictOf = (
    attempt: Attempt,
    ...outcomes: Result["outcome"][]
  ): [Line["verdict"], boolean] => {
    const { lines, passed } = summarize(outcomes.map((outcome, index) => {
      const mode = [NEITHER, DENO, KERNEL, BOTH][index]!;
      const asExpected = outcome === "skipped" || outcome === expectedOutcome(attempt, mode);
      return { attempt, target: "worker", mode, outcome, asExpected, detail: "" };
    }));
    return [lines[0]!.verdict, passed];
  };
  assertEquals(verdictOf(SAMPLE, "through", "refused", "refused", "refused"), ["held", true]);
  assertEquals(verdictOf(SAMPLE, "through", "refused", "refused", "through"), ["failed", false]);
  assertEquals(verdictOf(SAMPLE, "through", "through", "refused", "refused"), ["failed", false]);
  assertEquals(verdictOf(SAMPLE, "refused", "refused", "refused", "refused"), ["unproven", false]);
  assertEquals(verdictOf(SAMPLE, "through", "refused", "refused", "unclear"), ["failed", false]);
  assertEquals(verdictOf(SAMPLE, "skipped", "skipped", "skipped", "skipped"), ["skipped", true]);
  const open = { ...SAMPLE, deno: "open", kernel: "open" } as const;
  assertEquals(verdictOf(open, "through", "through", "through", "through"), ["failed", false]);
  const bounded = { ...SAMPLE, deno: "contained", kernel: "contained" } as const;
  assertEquals(verdictOf(bounded, "through", "through", "through", "through"), [
    "contained",
    true,
  ]);
});

auditTest(
  "a quick audit of the guestbook holds, and prints what is contained and nothing else",
  async () => {
    await using project = await guestbookProject();
    const { code, stdout, stderr } = await runLongCommand(AUDIT_MS, project, "audit", "--quick");
    // A pipe gets no progress.
    assertEquals([code, stderr], [0, ""], stdout);
    assert(stdout.startsWith("THE WALL HOLDS: nothing got through.\n"), stdout);
    assertEquals(stdout.split("\n").filter((line) => line.length > 80), []);
    const [, figures, contained] = stdout.split("\n\n");
    for (const process of ["worker", "helper thumbnails", "helper notify"]) {
      assertMatch(figures!, new RegExp(`^${process} +\\d+ +\\d+ +\\d+ +0 +0 +\\d+$`, "m"));
    }
    const ids = [...contained!.matchAll(/^([A-Z]+\d+\S*) /gm)].map(([, id]) => id);
    const known = ATTEMPTS.filter(isContained).map(({ id }) => id);
    assert(ids.length > 3);
    assertEquals(ids.filter((id) => !known.includes(id!)), []);
  },
);

Deno.test("holdfast audit of a config that is refused is exit 78, and makes nothing", async () => {
  await using project = await Project.create({ config: { unveil: { "./app.ts": "w" } } });
  const { code, stderr } = await runCommand(project, "audit");
  assertEquals(code, 78);
  assertStringIncludes(stderr, "app.ts");
});
