/**
 * A sample of the audit, over all of its areas: each attempt without any wall, where it must get
 * through, behind each layer alone, and with both, as Holdfast ships, against a worker, a helper and the
 * logger. All attempts are made in deep/audit_test.ts.
 */
import { assert, assertEquals } from "@std/assert";
import { AREAS } from "../../lib/audit/attempt.ts";
import { ATTEMPTS } from "../../lib/audit/attempts/catalogue.ts";
import type { Target } from "../../lib/audit/setup.ts";
import { audit } from "../../lib/audit/audit.ts";
import { MODES } from "../../lib/audit/mode.ts";
import { summarize } from "../../lib/audit/summary.ts";
import { configureLog } from "../../lib/base/log.ts";
import { SAMPLE } from "../harness/audit_sample.ts";
import { findMissing, type Needs, recordSkip } from "../harness/needs.ts";
import { Authority } from "../harness/certificates.ts";
import { Project } from "../harness/project.ts";
import { createTlsProject } from "../harness/tls.ts";

/** The targets of those attempts that need their own process and are not made against the worker. */
const ALONE: Readonly<Record<string, Target>> = {
  "EX4.shell": "helper bare",
  "HL4.long": "helper bare",
  "SP5.traceme": "logger",
  "HO1.native": "logger",
};

/** A worker, a helper that has nothing, and a logger. */
const PROJECT = {
  files: { "bare.ts": "export default {};" },
  config: { log: { folder: "./log" }, helpers: { bare: { module: "./bare.ts" } } },
};

/** Some attempts are written for one architecture, and some could only ever be root's. */
const NEEDS: Needs = {
  root: true,
  programs: ["openssl"],
  missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64",
};

function auditTest(name: string, fn: () => Promise<void>): void {
  const why = findMissing(NEEDS);
  if (why !== undefined) recordSkip({ name, why });
  // A guard looks twice a second whether it is still wanted, and outlives its test by that.
  Deno.test({ name, ignore: why !== undefined, sanitizeOps: false, sanitizeResources: false, fn });
}

auditTest(
  "of a sample of all attempts none gets out of any process, and each gets through where nothing holds it",
  gauge,
);

/** What depends on the config: HTTPS, Unix listeners, names, Unix sockets of others, addons, folders. */
const CONFIGURED = [
  ...["FD1.deno", "FD1.native", "FD2.write", "FK1.deno", "FK1.native", "TM1.native", "TM2.link"],
  ...["TM3.native", "TM3.remove", "NW1.native", "NW7.native", "NW7.native_unbound", "NW8.native"],
  ...["NW8.native_link", "NW8.native_spelled", "NW9.native_name", "NW14.bind", "NW14.listen"],
  ...["NW17.queue", "SP4.owner", "SP4.owner_ioctl", "SP14.program", "SP14.pair", "SP14.close"],
  ...["EX3.planted_library", "EX8.file", "EX8.memory"],
];

auditTest(
  "nothing gets out of any process of a config that has everything",
  async () => {
    await using authority = await Authority.create();
    const { project } = await createTlsProject(await authority.issue(), {
      files: { "bare.ts": "export default {};", "templates/file.txt": "", "socket/file.txt": "" },
      config: {
        unveil: { "./templates": "r" },
        ...{ dropAfterOpen: ["./templates"], tmp: true },
        metrics: { listen: "unix:./metrics/metrics.sock" },
        helpers: { bare: { module: "./bare.ts", native: true, tmp: true } },
      },
    });
    await using _project = project;
    await project.configure({
      net: ["localhost:9", `unix:${project.path("socket/server.sock")}`],
    });
    using _server = Deno.listen({ transport: "unix", path: project.path("socket/server.sock") });
    configureLog("none");
    const results = await audit({
      configFile: project.configFile,
      attempts: ATTEMPTS.filter(({ id }) => CONFIGURED.includes(id)),
      modes: MODES.filter(({ name }) => name === "kernel" || name === "both"),
    });
    const wrong = results.filter(({ asExpected }) => !asExpected)
      .map(({ target, mode, attempt, outcome, detail }) =>
        `${attempt.id} against the ${target}, ${mode.name}: ${outcome} (${detail})`
      );
    assertEquals(wrong, []);
    const made = results.filter(({ outcome }) => outcome !== "skipped");
    assertEquals(
      new Set(made.map(({ target }) => target)),
      new Set(["worker", "helper bare", "metrics", "resolver"]),
    );
    assertEquals(new Set(made.map(({ attempt }) => attempt.id)), new Set(CONFIGURED));
  },
);

async function gauge(): Promise<void> {
  await using project = await Project.create(PROJECT);
  configureLog("none");
  const attempts = ATTEMPTS.filter(({ id }) => SAMPLE.includes(id));
  assertEquals(attempts.length, SAMPLE.length);
  assertEquals(new Set(attempts.map(({ area }) => area)), new Set(AREAS));
  const results = await audit({
    configFile: project.configFile,
    attempts,
    modes: MODES,
    // Each of these takes processes of its own: one target each is enough here.
    chosen: ({ id, alone }, target) => !alone || target === (ALONE[id] ?? "worker"),
  });
  const { lines, passed } = summarize(results);
  const wrong = lines.filter(({ verdict }) => verdict === "failed" || verdict === "unproven");
  assertEquals(wrong, []);
  assertEquals(passed, true);
  for (const process of ["worker", "helper bare", "logger"]) {
    const held = lines.filter((line) => line.process === process && line.verdict === "held");
    assert(held.length >= 45, `${held.length} against the ${process}`);
    const control = held.filter(({ outcomes }) => outcomes.neither === "through");
    assertEquals(control.length, held.length, process);
  }
}
