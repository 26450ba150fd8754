/** Makes one folder, and ends: as the user that is to write there, who may do nothing else. */
import { FOLDER_VARIABLE } from "../protocol/native.ts";

/** Runs it. */
export function run(): Promise<void> {
  Deno.mkdirSync(Deno.env.get(FOLDER_VARIABLE) ?? "", { mode: 0o700 });
  return Promise.resolve();
}
