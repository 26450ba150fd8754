/** By what a worker listens for TLS, in the eyes of Deno's permissions. */

/**
 * No socket has this address: the supervisor puts its own in the place of what would listen there. A
 * worker gives the name up before the app is loaded, unless the app's own `net` has it.
 */
export const LENT_NAME = "127.0.0.1:1";

/** Whether `net` has the name by itself. */
export function namesLent(net: readonly string[]): boolean {
  return net.some((entry) => LENT_NAME === entry || LENT_NAME.startsWith(`${entry}:`));
}
