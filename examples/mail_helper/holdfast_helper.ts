/** Holdfast as a checkout has it; with the npm package, map the name in deno.json to that. */
export * from "../../lib/helper/mod.ts";
