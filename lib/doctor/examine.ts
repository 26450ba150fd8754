/** Runs the checks over facts, and puts what they found into words. Pure. */
import { type Check, type Finding, type State, STATES } from "./check.ts";
import { CONFIG_CHECKS } from "./config_checks.ts";
import type { Facts } from "./facts.ts";
import { MACHINE_CHECKS } from "./machine_checks.ts";

/** Every check, in the order in which they are told. */
export const CHECKS: readonly Check[] = [...MACHINE_CHECKS, ...CONFIG_CHECKS];

/** What a check found, and of which check. */
export interface Result extends Finding {
  readonly id: string;
  readonly title: string;
}

/** Runs all of them. */
export function examine(facts: Facts): Result[] {
  return CHECKS.flatMap(({ id, title, run }) => run(facts).map((each) => ({ id, title, ...each })));
}

/** How often each state was found. */
export function countStates(results: readonly Result[]): Record<State, number> {
  return Object.fromEntries(
    STATES.map((state) => [state, results.filter((each) => each.state === state).length]),
  ) as Record<State, number>;
}

const WIDTH = 80;
const [STATE_WIDTH, TITLE_WIDTH] = [9, 18];
const INDENT = " ".repeat(STATE_WIDTH);

const COLOURS: Readonly<Record<State, string>> = {
  ok: "\x1b[32m",
  note: "\x1b[36m",
  warning: "\x1b[33m",
  fault: "\x1b[31m",
};

/** Lines of at most 80 columns, but for a word of a command that is longer: it is to be copied whole. */
export function formatResults(results: readonly Result[], colour: boolean): string {
  const lines = results.flatMap(({ state, title, found, mend }) => {
    const mark = colour ? `${COLOURS[state]}${state}\x1b[0m` : state;
    const head = `${mark}${" ".repeat(STATE_WIDTH - state.length)}`;
    const beside = WIDTH - STATE_WIDTH - TITLE_WIDTH;
    const isLong = found.split(/\s/).some((word) => [...word].length > beside);
    const [first = "", ...more] = isLong
      ? ["", ...wrap(found, WIDTH - STATE_WIDTH, true)]
      : wrap(found, beside);
    const under = isLong ? INDENT : `${INDENT}${" ".repeat(TITLE_WIDTH)}`;
    return [
      `${head}${title.padEnd(TITLE_WIDTH)}${first}`.trimEnd(),
      ...more.map((line) => `${under}${line}`),
      ...mend === undefined
        ? []
        : wrap(mend, WIDTH - STATE_WIDTH - 3).map((line, index) =>
          `${INDENT}${index === 0 ? "-> " : "   "}${line}`
        ),
    ];
  });
  return [...lines, "", summary(results)].join("\n");
}

function summary(results: readonly Result[]): string {
  const { fault, warning, note } = countStates(results);
  const some = (count: number, word: string) =>
    count === 0 ? [] : [`${count} ${word}${count === 1 ? "" : "s"}`];
  const found = [...some(fault, "fault"), ...some(warning, "warning"), ...some(note, "note")];
  return found.length === 0 ? "Nothing is in the way." : `${found.join(", ")}.`;
}

/** Breaks at spaces, and where `hard` within words too; keeps lines that are there. */
function wrap(text: string, width: number, hard = false): string[] {
  return text.split("\n").flatMap((line) => {
    const words = line.split(" ").flatMap((word) =>
      hard ? word.match(new RegExp(`.{1,${width}}`, "gu")) ?? [""] : [word]
    );
    const lines: string[] = [];
    let current = "";
    for (const word of words) {
      const longer = current === "" ? word : `${current} ${word}`;
      if ([...longer].length <= width || current === "") current = longer;
      else {
        lines.push(current);
        current = word;
      }
    }
    return [...lines, current];
  });
}
