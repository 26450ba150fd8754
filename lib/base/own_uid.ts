/** Asked once: a supervisor that serves may not ask any more. */
const OWN_UID = ask();

/** One that may not ask at all says so where it matters, and not where this file is loaded. */
function ask(): number | null | undefined {
  try {
    return Deno.uid();
  } catch {
    return undefined;
  }
}

/**
 * The user that this process runs as; `null` where there is no such number.
 *
 * @throws {Deno.errors.NotCapable} if it may not ask
 */
export function ownUid(): number | null {
  return OWN_UID === undefined ? Deno.uid() : OWN_UID;
}
