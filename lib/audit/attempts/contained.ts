/** Attempts that may get through, within a bound. */
import type { Area, Attempt } from "../attempt.ts";

/** What makes such attempts of an area. */
export function containedIn(area: Area) {
  /** Something that may happen; the attempt throws if it goes beyond its bound. */
  function bounded(
    id: string,
    title: string,
    note: string,
    run: Attempt["run"],
    more: Partial<Attempt> = {},
  ): Attempt {
    return {
      ...{ id, area, title, deno: "contained", kernel: "contained", note, proof: "claim" },
      ...{ alone: true, ...more },
      run,
    };
  }
  /** Something that ends the worker, and nobody else. */
  function ending(
    id: string,
    title: string,
    end: RegExp,
    run: Attempt["run"],
    more: Partial<Attempt> = {},
  ): Attempt {
    return bounded(id, title, "It ends only itself; a worker that ends is replaced", run, {
      ...{ proof: "ended", end, ...more },
    });
  }
  return { bounded, ending };
}
