/** What an audit shows and selects, from fixed data: the attempts themselves are made in deep/. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { AREAS } from "../lib/audit/attempt.ts";
import { ATTEMPTS } from "../lib/audit/attempts/catalogue.ts";
import { kindOf, quickRuns } from "../lib/audit/quick.ts";
import type { Target } from "../lib/audit/setup.ts";
import type { Line, Summary } from "../lib/audit/summary.ts";
import { formatSarif } from "../lib/cli/audit_sarif.ts";
import { formatAudit } from "../lib/cli/audit_text.ts";
import { formatStep } from "../lib/cli/progress.ts";
import { plain } from "../lib/cli/text.ts";
import { assertScreen } from "./harness/screen.ts";

function line(
  id: string,
  process: Target,
  verdict: Line["verdict"],
  title = `what ${id} does`,
): Line {
  const outcomes = verdict === "skipped" ? { both: "skipped" as const } : {
    neither: "through" as const,
    both: verdict === "held" ? "refused" as const : "through" as const,
  };
  const details = { neither: "got it", both: verdict === "held" ? "EACCES" : "got it" };
  const note = verdict === "contained" ? "a bound" : undefined;
  return { ...{ process, id, area: "read", title, note, outcomes, details, verdict } };
}

function summaryOf(lines: readonly Line[]): Summary {
  const counts = { held: 0, contained: 0, failed: 0, unproven: 0, skipped: 0 };
  for (const { verdict } of lines) counts[verdict]++;
  return { lines, counts, passed: counts.failed + counts.unproven === 0 };
}

const PROCESSES: readonly Target[] = ["worker", "helper thumbnails", "logger"];

const HELD = summaryOf(
  PROCESSES.flatMap((process) => [
    ...["FR1.deno", "FW1.native", "EX4.shell"].map((id) => line(id, process, "held")),
    line("IP6", process, "contained", "flood the supervisor with messages that are right"),
    line("RE4.files", process, "skipped"),
  ]).concat(line("HL1.garbage", "worker", "contained", "on a stolen lane to a helper: garbage")),
);

const BROKEN = summaryOf([
  ...HELD.lines,
  line("FR3.absolute", "helper thumbnails", "failed", "read /etc/passwd by its absolute path"),
  line("NW1.connect", "worker", "unproven"),
]);

const FACTS = ["/srv/app/holdfast.jsonc, in 8s. Deno 2.9.6, Linux 6.12.0, Landlock ABI 6, x86_64."];

for (const width of [80, 120]) {
  Deno.test(`an audit shows in ${width} columns the result, then what is not simply refused`, () => {
    const view = { width, paint: plain, all: false, facts: FACTS };
    assertScreen("audit_held", formatAudit(HELD, view), width);
    assertScreen("audit_broken", formatAudit(BROKEN, view), width);
    assertScreen("audit_all", formatAudit(BROKEN, { ...view, all: true }), width);
  });
}

Deno.test("what is held is not listed, and what got through is not lost among it", () => {
  const view = { width: 80, paint: plain, all: false, facts: [] };
  const text = formatAudit(BROKEN, view);
  assert(text.startsWith("THE WALL DOES NOT HOLD"), text);
  assertStringIncludes(text, "failed: FR3.absolute against the helper thumbnails");
  assertStringIncludes(text, "unproven: NW1.connect against the worker");
  assertEquals(["FR1.deno", "RE4.files"].filter((id) => text.includes(id)), []);
  assert(formatAudit(HELD, view).startsWith("THE WALL HOLDS"));
});

Deno.test("SARIF has a rule for each attempt, and a result for each finding in each process", () => {
  const facts = { version: "1.2.3", config: "/srv/app/a b.jsonc", folder: "/srv", all: false };
  const { version, $schema, runs: [run], ...more } = JSON.parse(formatSarif(BROKEN, facts));
  assertEquals([version, more], ["2.1.0", {}]);
  assertStringIncludes($schema, "sarif-schema-2.1.0.json");
  const { name, rules, semanticVersion } = run.tool.driver;
  assertEquals([name, semanticVersion], ["holdfast audit", "1.2.3"]);
  assertEquals(new Set(rules.map(({ id }: { id: string }) => id)).size, rules.length);
  // deno-lint-ignore no-explicit-any
  const found = run.results.map((each: any) => {
    assertEquals(rules[each.ruleIndex].id, each.ruleId);
    assert(each.message.text.length > 0);
    const [{ physicalLocation, logicalLocations }] = each.locations;
    assertEquals(physicalLocation.artifactLocation.uri, "app/a%20b.jsonc");
    return [each.ruleId, each.kind, each.level, logicalLocations[0].name].join(" ");
  });
  assertEquals(found, [
    "IP6 informational none worker",
    "IP6 informational none helper thumbnails",
    "IP6 informational none logger",
    "HL1.garbage informational none worker",
    "FR3.absolute fail error helper thumbnails",
    "NW1.connect fail warning worker",
  ]);
  const all = JSON.parse(formatSarif(BROKEN, { ...facts, folder: "/home", all: true })).runs[0];
  assertEquals(all.results.length, BROKEN.lines.length);
  assertEquals(
    all.results[0].locations[0].physicalLocation.artifactLocation.uri,
    "file:///srv/app/a%20b.jsonc",
  );
});

Deno.test("a quick audit makes attempts of every area, of every kind that shares a process, and against each process", () => {
  const targets: Target[] = ["worker", "helper thumbnails", "helper notify", "logger"];
  const runs = quickRuns(ATTEMPTS, targets);
  const made = new Set(runs.flatMap(({ attempts }) => attempts));
  const kinds = (attempts: Iterable<{ id: string }>) => new Set([...attempts].map(kindOf));
  const shared = kinds(ATTEMPTS.filter(({ alone }) => !alone));
  assertEquals(shared.difference(kinds(made)), new Set());
  assertEquals(new Set([...made].map(({ area }) => area)), new Set(AREAS));
  for (const area of AREAS) {
    const dear = ATTEMPTS.filter((each) => each.area === area && !shared.has(kindOf(each)));
    const own = [...made].filter((each) => dear.includes(each));
    assertEquals(own.length, Math.min(2, kinds(dear).size), area);
  }
  assertEquals(new Set(runs.map(({ target }) => target)), new Set(targets));
  assertEquals(runs.map(({ mode }) => mode.name), targets.map(() => "both"));
  for (const { target, attempts } of runs) {
    const areas = new Set(attempts.map(({ area }) => area));
    assert(areas.size >= 7, `${target}: ${[...areas]}`);
  }
  assert(made.size < ATTEMPTS.length / 6);
});

Deno.test("progress says how much of how much, and how long it will take once that can be told", () => {
  const step = (done: number, total: number, ms: number) =>
    formatStep({ what: "attempts", done, total, ms });
  assertEquals(step(0, 0, 12_000), "attempts, 12s");
  assertEquals(step(0, 100, 1_000), "[--------------------] 0/100 attempts");
  assertEquals(step(25, 100, 10_000), "[#####---------------] 25/100 attempts, 30s left");
  assertEquals(step(120, 100, 10_000), "[####################] 120/100 attempts, 0s left");
});
