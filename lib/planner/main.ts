/**
 * The planner's program. It parses and checks a config, reads its project and the caches of Deno, or what
 * an executable brings, writes the image of a generation and its answer into the folder that it was
 * given, and ends.
 */
import { runPlan } from "./run.ts";

await runPlan();
