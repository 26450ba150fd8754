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
import { findMissing, recordSkip } from "../harness/needs.ts";
import { Project } from "../harness/project.ts";

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

const NAME =
  "of a sample of all attempts none gets out of any process, and each gets through where nothing holds it";

/** Some of them are written for one architecture, and some could only ever be root's. */
const why = findMissing({
  root: true,
  missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64",
});
if (why !== undefined) recordSkip({ name: NAME, why });

Deno.test({
  name: NAME,
  ignore: why !== undefined,
  // A guard looks twice a second whether it is still wanted, and outlives its test by that.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: gauge,
});

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
