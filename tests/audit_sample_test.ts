/**
 * A sample of the audit, over all of its areas: each attempt without any wall, where it must get
 * through, behind each layer alone, and in the way in which Holdfast ships, in the place of a worker,
 * of a helper and of the logger. All attempts are made in deep/audit_test.ts.
 */
import { assert, assertEquals } from "@std/assert";
import { AREAS } from "../lib/audit/attempt.ts";
import { ATTEMPTS } from "../lib/audit/attempts/catalogue.ts";
import type { Place } from "../lib/audit/cast.ts";
import { audit } from "../lib/audit/audit.ts";
import { MODES } from "../lib/audit/mode.ts";
import { summarize } from "../lib/audit/summary.ts";
import { configureLog } from "../lib/base/log.ts";
import { findMissing, recordSkip } from "./harness/needs.ts";
import { Project } from "./harness/project.ts";

const SAMPLE = [
  ...["FR1.deno", "FR1.node", "FR1.native", "FR2.twin", "FR3.absolute", "FR8.decoy_environ"],
  ...["FR8.supervisor_mem", "FR12.json", "FR17.open", "FR19.file", "FR24.inotify", "FR21.race"],
  ...[
    "FW1.write",
    "FW1.node_rename",
    "FW1.native_open",
    "FW1.native_unlink",
    "FW2.write",
    "FW3.create",
  ],
  ...["FW5.write", "FW6.native", "FW8.native_chmod_readable", "FW9.setxattr", "FW14.move_in"],
  ...["EX1.output", "EX1.node_spawn", "EX4.shell", "EX7.clone3", "EX3.library"],
  ...["NW1.connect", "NW1.native", "NW2.datagram", "NW2.net", "NW7.listen", "NW8.native"],
  ...["NW14.option_so_attach_filter", "NW16.netlink", "NW16.ring"],
  ...["SP1.deno_term", "SP1.native_kill", "SP1.native_supervisor", "SP4.pidfd", "SP4.queue"],
  ...["SP5.traceme", "SP6.readv_supervisor", "SP9.nice", "SP11.add_key", "SP13.unshare"],
  ...["SE1.get", "SE1.node", "SE4.shadow_native", "SE7.hostname", "SE11.request_all"],
  ...["PE1.module.deno", "PE1.config.native", "PE4.cache.native", "PE4.local_storage"],
  ...["IP1.phase", "IP3", "IP17.exit", "HG1.helper_read", "HG1.worker_native"],
  ...["HG2.helper_native", "HG3.helper_native", "HP2.worker_native", "HL1.long", "HL4.long"],
  ...["HO1.native", "RE5.deno"],
];

/** In whose place those are made that take a process of their own and are not the worker's. */
const ALONE: Readonly<Record<string, Place>> = {
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
    // Each of these takes processes of its own: one place each is enough here.
    chosen: ({ id, alone }, place) => !alone || place === (ALONE[id] ?? "worker"),
  });
  const { lines, passed } = summarize(results);
  const wrong = lines.filter(({ verdict }) => verdict === "failed" || verdict === "unproven");
  assertEquals(wrong, []);
  assertEquals(passed, true);
  for (const process of ["worker", "helper bare", "logger"]) {
    const held = lines.filter((line) => line.process === process && line.verdict === "held");
    assert(held.length >= 45, `${held.length} in the place of the ${process}`);
    const control = held.filter(({ outcomes }) => outcomes.neither === "through");
    assertEquals(control.length, held.length, process);
  }
}
