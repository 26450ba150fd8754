/** An audit as SARIF 2.1.0 (Static Analysis Results Interchange Format), which CI systems read. Pure. */
import { relative } from "node:path";
import type { Line, Summary } from "../audit/summary.ts";
import { WORDS } from "./audit_rows.ts";
import { MODES } from "../audit/mode.ts";

const SCHEMA =
  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";

/** What a verdict is there. A result of another kind than `fail` has no level. */
const KINDS = {
  failed: { kind: "fail", level: "error" },
  unproven: { kind: "fail", level: "warning" },
  contained: { kind: "informational", level: "none" },
  held: { kind: "pass", level: "none" },
  skipped: { kind: "notApplicable", level: "none" },
} as const;

/** What an audit was made of, and by what. */
export interface SarifFacts {
  readonly version: string;
  /** The config, absolute. */
  readonly config: string;
  /** Where the audit runs: paths are given from there. */
  readonly folder: string;
  /** Also what is held, and what was not made. */
  readonly all: boolean;
}

/** The log: a rule for each attempt, a result for each process that it is about. */
export function formatSarif(
  { lines }: Summary,
  { version, config, folder, all }: SarifFacts,
): string {
  const shown = lines.filter(({ verdict }) => all || verdict !== "held" && verdict !== "skipped");
  const rules = [...new Map(lines.map((line) => [line.id, line])).values()];
  const indexes = new Map(rules.map(({ id }, index) => [id, index]));
  return JSON.stringify({
    $schema: SCHEMA,
    version: "2.1.0",
    runs: [{
      tool: {
        driver: { name: "holdfast audit", semanticVersion: version, rules: rules.map(toRule) },
      },
      columnKind: "utf16CodeUnits",
      results: shown.map((line) => ({
        ruleId: line.id,
        ruleIndex: indexes.get(line.id),
        ...KINDS[line.verdict],
        message: { text: describe(line) },
        locations: [{
          physicalLocation: { artifactLocation: { uri: uriOf(config, folder) } },
          logicalLocations: [{ name: line.process, kind: "process" }],
        }],
        // The same finding in the next run, whatever its text.
        partialFingerprints: { "attemptAndProcess/v1": `${line.id} ${line.process}` },
      })),
    }],
  });
}

function toRule({ id, title, note, area }: Line) {
  return {
    id,
    shortDescription: { text: title },
    ...note !== undefined && { fullDescription: { text: note } },
    properties: { tags: [area] },
  };
}

function describe({ process, title, verdict, outcomes, details }: Line): string {
  const seen = MODES.filter(({ name }) => outcomes[name] !== undefined)
    .map(({ name, title }) => `${title}: ${WORDS[outcomes[name]!]} (${details[name]})`);
  return `${verdict} against the ${process}: ${title}. ${seen.join("; ")}`;
}

/** As CI systems find it in the repository, where it lies in there. */
function uriOf(path: string, folder: string): string {
  const short = relative(folder, path);
  const isInside = short !== "" && !short.startsWith("..");
  const uri = (isInside ? short : path).split("/").map(encodeURIComponent).join("/");
  return isInside ? uri : `file://${uri}`;
}
