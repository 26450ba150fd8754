/** The planner's program in an executable: it takes the image that is in it. */
import { fileURLToPath } from "node:url";
import { runPlan } from "../planner/run.ts";

/** Runs it. */
export async function run(): Promise<void> {
  await runPlan(fileURLToPath(new URL("./image", import.meta.url)));
}
