import facts from "../../deno.json" with { type: "json" };

/** Holdfast's version. */
export const VERSION: string = facts.version;
