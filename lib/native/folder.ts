/** Makes one folder, and ends: as the user that is to write there, or as root, who hands it over. */
import { closeSync, constants, fchmodSync, fchownSync, openSync } from "node:fs";
import { FOLDER_VARIABLE } from "../protocol/native.ts";

/** Runs it. */
export function run(): Promise<void> {
  const text = Deno.env.get(FOLDER_VARIABLE) ?? "";
  // The supervisor of an earlier version names the path alone.
  const { path, owner } = text.startsWith("/")
    ? { path: text, owner: undefined }
    : JSON.parse(text);
  Deno.mkdirSync(path, { mode: 0o700 });
  if (owner) {
    // What lies at its name may be another one a moment later.
    const folder = openSync(path, constants.O_DIRECTORY | constants.O_NOFOLLOW);
    fchownSync(folder, owner.uid, owner.gid);
    fchmodSync(folder, owner.shares ? 0o770 : 0o700);
    closeSync(folder);
  }
  return Promise.resolve();
}
