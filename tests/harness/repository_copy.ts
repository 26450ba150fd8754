import { assert } from "@std/assert";
import { join } from "node:path";
import { REPOSITORY } from "./project.ts";

/** What of the repository a start of the example takes. */
const PARTS = [
  "deno.json",
  "deno.lock",
  "main.ts",
  "supervisor.ts",
  "worker.ts",
  "lib",
  "examples",
];

/** Copies it into a folder that is there. */
export async function copyRepository(folder: string): Promise<void> {
  const { success } = await new Deno.Command("cp", {
    args: ["-r", ...PARTS.map((name) => join(REPOSITORY, name)), folder],
  }).output();
  assert(success);
}
