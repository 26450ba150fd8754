/** Who asked for what: an error that comes later has nothing of the app in its stack. */

import { whereIn } from "./frames.ts";

/** How many are remembered; a refusal comes soon. */
const MAX_REMEMBERED = 64;

const remembered: { readonly names: readonly string[]; readonly stack: string | undefined }[] = [];

/** Remembers the stack of who asked for something, by the names that a refusal may have it by. */
export function rememberCaller(names: readonly string[], stack: string | undefined): void {
  // A function of the runtime that calls another one says nothing.
  if (whereIn(stack).from === undefined) return;
  remembered.push({ names, stack });
  if (remembered.length > MAX_REMEMBERED) remembered.shift();
}

/** The stack of who asked for it last. */
export function callerOf(name: string): string | undefined {
  return remembered.findLast(({ names }) => names.includes(name))?.stack;
}
