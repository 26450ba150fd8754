/** What came of an attempt in one mode, and whether that is as it should be. Pure. */
import type { Attempt, Expectation, Report } from "./attempt.ts";
import type { Wall } from "../sandbox/wall.ts";
import type { Target } from "./setup.ts";
import type { Mode } from "./mode.ts";

/** What the auditor saw. */
export interface Observation {
  /** What the subject said; nothing if it died or did not answer. */
  readonly report: Report | undefined;
  /** Whether it got what it wanted, by the attempt's proof. */
  readonly proven: boolean;
  /** How the subject ended, if it did. */
  readonly death?: string;
  /** What harm was done to another process, if any. */
  readonly harm?: string;
}

/**
 * - `through`: it got what it wanted.
 * - `refused`: a layer said no.
 * - `unclear`: neither; the attempt itself is at fault.
 * - `skipped`: it was not made, and says nothing.
 */
export type Outcome = "through" | "refused" | "unclear" | "skipped";

/** One attempt in one mode. */
export interface Result {
  readonly attempt: Attempt;
  readonly target: Target;
  readonly mode: Mode;
  readonly outcome: Outcome;
  /** What was seen, in words, for the table. */
  readonly detail: string;
  /** Whether the outcome is the expected one. */
  readonly asExpected: boolean;
}

const REFUSING_NAMES = ["NotCapable", "PermissionDenied", "Refused"];
// Deno answers a read of what is not unveiled as if it were not there. That it is there shows in the mode
// without Deno's layer, where the same attempt must get through.
const REFUSING_CODES = ["EACCES", "EPERM", "ENOSYS", "ERR_ACCESS_DENIED", "ENOENT"];
const REFUSING_TEXTS =
  /Requires \w+ access|NotCapable|\bEACCES\b|\bEPERM\b|\bENOSYS\b|[Pp]ermission denied|Operation not permitted|\(os error (1|2|13|38)\)/;

/** The outcome of an observation. */
export function classify(attempt: Attempt, { report, proven, death }: Observation): Outcome {
  if (proven) return "through";
  const { thrown } = report ?? {};
  if (thrown !== undefined) {
    const refused = REFUSING_NAMES.includes(thrown.name) || REFUSING_CODES.includes(thrown.code) ||
      REFUSING_TEXTS.test(thrown.message) || attempt.refusal?.test(thrown.message) === true;
    return refused ? "refused" : "unclear";
  }
  if (death !== undefined && attempt.fatal === true) return "refused";
  return "unclear";
}

/** What of a wall decides what the kernel refuses. */
export type Held = Pick<Wall, "seccomp" | "code">;

/** The outcome that the layers of a mode should lead to. */
export function expectedOutcome(attempt: Attempt, mode: Mode, held?: Held): Outcome {
  const kernel = isClosed(attempt, held) || attempt.kernel === "stops" && !isGranted(attempt, held);
  const stops = mode.deno && attempt.deno === "stops" || mode.kernel && kernel;
  return stops ? "refused" : "through";
}

function isClosed({ closedWith }: Attempt, held: Held | undefined): boolean {
  if (closedWith === undefined || held === undefined) return false;
  return closedWith === "names" ? held.seccomp.network === "names" : held.code?.compiled === false;
}

/** Whether the kernel leaves it open since the app itself needs it. */
function isGranted({ openWith }: Attempt, held: Held | undefined): boolean {
  if (openWith === undefined || held === undefined) return false;
  const { seccomp: { network, unix, lends }, code } = held;
  switch (openWith) {
    case "anybody":
      return network !== "none" || unix === true;
    case "names":
      return network === "names";
    case "binding":
      return network === "names" && lends !== true;
    case "libraries":
      return code?.libraries !== false;
    case "native":
      return code === undefined;
  }
}

/** Whether an attempt that both layers let through is a known, bounded limit. */
export function isContained({ deno, kernel }: Attempt): boolean {
  const layers: Expectation[] = [deno, kernel];
  return !layers.includes("stops") && layers.includes("contained");
}

/** What was seen, in a few words. */
export function describe({ report, proven, death, harm }: Observation): string {
  if (harm !== undefined) return harm;
  if (death !== undefined) return death;
  if (report?.thrown) {
    const { name, code, message } = report.thrown;
    const first = message.split("\n")[0]!.slice(0, 120);
    return `${name}${code === "" ? "" : ` ${code}`}: ${first}`;
  }
  if (report === undefined) return "no answer";
  return proven ? "got it" : `returned ${report.returned?.slice(0, 80)}`;
}
