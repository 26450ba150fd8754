/** Read once: a supervisor that serves has no permission to read it. */
const OWN_UID = ask();

/** Without permission, the error is thrown where the id is used, not where this file is loaded. */
function ask(): number | null | undefined {
  try {
    return Deno.uid();
  } catch {
    return undefined;
  }
}

/**
 * The user id of this process; `null` on systems without user ids.
 *
 * @throws {Deno.errors.NotCapable} if it has no permission to read it
 */
export function ownUid(): number | null {
  return OWN_UID === undefined ? Deno.uid() : OWN_UID;
}
