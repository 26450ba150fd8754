/** Puts the cases of WebSocket conformance to an echoing server, and grades what comes back. */
import { type Case, CASES } from "./web_socket_cases.ts";
import { AWAY, closing, frame, OPCODE, WebSocketWire } from "./web_socket_wire.ts";

/**
 * `ok`; `dropped`: it ended a connection that broke a rule without a close; `late`: it noticed at the end
 * of a message what it could have seen before; `code N`: it closed with another code; `interrupted`: it
 * went away in the middle, and said so; `not offered`: an extension that it does not have; or what came.
 */
export type Grade = string;

/** How many cases run at the same time. */
const AT_ONCE = 8;

export const BYE = frame(OPCODE.close, closing(1000));

/** The grade of each case, by its number. */
export type Grades = Record<string, Grade>;

/** Runs all of them, each over a connection of its own. */
export async function runCases(
  open: (each: Case) => Promise<WebSocketWire>,
): Promise<Grades> {
  const grades: Grades = {};
  await forEachCase(async (each) => {
    using wire = await open(each);
    grades[each.id] = await runCase(wire, each);
  });
  return grades;
}

/** Does something for each, some at the same time. */
export async function forEachCase(work: (each: Case) => Promise<void>): Promise<void> {
  const left = CASES.values();
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (const each of left) await work(each);
  }));
}

/** Runs one over a connection that is there. */
export async function runCase(wire: WebSocketWire, each: Case): Promise<Grade> {
  if (each.offers !== undefined && wire.extensions === undefined) return "not offered";
  wire.expectEnd();
  for (const piece of each.send) await wire.send(piece, each.chop);
  if (!each.closes) await wire.send(BYE);
  return gradeOf(each, await wire.trace);
}

function gradeOf({ events, codes, fails, late, resets }: Case, trace: readonly string[]): Grade {
  const came = [...trace];
  const wrong = JSON.stringify(came);
  if (came.pop() !== "end") return wrong;
  const code = /^close (\d+)$/.exec(came.at(-1) ?? "")?.[1];
  if (code !== undefined) came.pop();
  const begins = came.every((each, index) => each === events[index]);
  if (begins && AWAY.includes(Number(code)) && !codes.includes(Number(code))) return "interrupted";
  if (resets && came.length === 0 && code === undefined) return "ok";
  const whole = begins && came.length === events.length;
  if (!fails) return whole && codes.includes(Number(code ?? -1)) ? "ok" : wrong;
  const noticedLate = late !== undefined && came.join() === [...events, ...late].join();
  if (!begins && !noticedLate) return wrong;
  if (code === undefined) return noticedLate ? "late, dropped" : "dropped";
  if (!codes.includes(Number(code))) {
    // A close that answers ours: it has noticed nothing.
    return code === "1000" ? wrong : `code ${code}`;
  }
  return noticedLate ? "late" : "ok";
}

/** How many cases have each grade, and which have one that is not `ok`. */
export function sumUp(grades: Grades): { counts: Record<string, number>; others: Grades } {
  const counts: Record<string, number> = {};
  for (const grade of Object.values(grades)) counts[grade] = (counts[grade] ?? 0) + 1;
  const others = Object.fromEntries(Object.entries(grades).filter(([, grade]) => grade !== "ok"));
  return { counts, others };
}
