/** A selection of the attempts that takes seconds: some of every area. Pure. */
import { AREAS, type Attempt, type Kind } from "./attempt.ts";
import { type Mode, MODES } from "./mode.ts";
import type { Target } from "./setup.ts";

/** What is made of one target in one mode. */
export interface QuickRun {
  readonly target: Target;
  readonly mode: Mode;
  readonly attempts: readonly Attempt[];
}

/** Of an area so many kinds are tried of which each attempt takes a process of its own: a third of a second. */
const ALONE_OF_AREA = 2;

/** The kind of an attempt: its id without the variant. */
export function kindOf({ id }: Pick<Attempt, "id">): string {
  return id.split(".")[0]!;
}

/**
 * Of each kind the attempt that is made soonest, as Holdfast ships. Those that share a process are made
 * against the first target where they make sense, and one of each area against every other target. Of those
 * that take a process each, some of each area are shared out among all. That each gets through without a wall, or a refusal
 * proves nothing, is for the whole audit to show.
 */
export function quickRuns(all: readonly Attempt[], targets: readonly Target[]): QuickRun[] {
  const kinds = Map.groupBy(all, kindOf);
  const picked = [...kinds.values()].map((own) => own.toSorted((a, b) => cost(a) - cost(b))[0]!);
  const alone = Map.groupBy(picked.filter((each) => each.alone), ({ area }) => area);
  const dear = new Set([...alone.values()].flatMap((own) => own.slice(ALONE_OF_AREA)));
  const placed = new Map<Target, Attempt[]>(targets.map((target) => [target, []]));
  for (const attempt of picked.filter((each) => !dear.has(each))) {
    const fit = targets.filter((target) => makesSense(attempt, target));
    const load = (target: Target) => placed.get(target)!.filter(({ alone }) => alone).length;
    const [place] = attempt.alone ? fit.toSorted((a, b) => load(a) - load(b)) : fit;
    if (place !== undefined) placed.get(place)!.push(attempt);
  }
  const mode = MODES.find(({ name }) => name === "both")!;
  return targets.map((target, index): QuickRun => {
    const sample = index === 0 ? [] : ofEachArea(all, target);
    return { target, mode, attempts: [...new Set([...placed.get(target)!, ...sample])] };
  });
}

/** What is made sooner comes first. */
function cost({ alone, stress, optional, needs, withTls, proof }: Attempt): number {
  return (stress ? 8 : 0) + (alone ? 4 : 0) + (optional || needs || withTls ? 2 : 0) +
    (proof === "canary" ? 1 : 0);
}

function makesSense({ only }: Attempt, target: Target): boolean {
  const kind = target.split(" ")[0] as Kind;
  return only === undefined || only.in.includes(kind);
}

/** One of each area that is made against the target without a process of its own. */
function ofEachArea(all: readonly Attempt[], target: Target): Attempt[] {
  return AREAS.flatMap((area) => {
    const own = all.filter((each) => each.area === area && cost(each) === 0);
    return own.filter((each) => makesSense(each, target)).slice(0, 1);
  });
}
