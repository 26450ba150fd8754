/** Paths as they were typed: links in them are followed when the path is used. */
import { resolve } from "node:path";
import { realPlace } from "./real_place.ts";

/** The working directory at the start: by the shell's name, and by the kernel's. */
let start: { readonly shell: string; readonly own: string } | undefined;

/**
 * A path made absolute, with its symbolic links: by the shell's $PWD, which has the links on
 * the way to the working directory, or else by the working directory itself.
 */
export function spelledPath(path: string): string {
  const { shell, own } = startFolder();
  const spelled = resolve(shell, path);
  // For `..` the kernel starts at a link's target, a shell at the link itself: they may differ.
  const meant = path.startsWith("/") ? path : `${own}/${path}`;
  if (!path.split("/").includes("..") || realPlace(spelled) === realPlace(meant)) return spelled;
  return realPlace(meant);
}

/** The working directory at the start; `/` if it no longer exists. */
export function workingFolder(): string {
  const { shell } = startFolder();
  try {
    return Deno.statSync(shell).isDirectory ? shell : "/";
  } catch {
    return "/";
  }
}

/** Read once: the directory at the start counts, and it may be gone later. */
function startFolder() {
  if (start) return start;
  const own = Deno.cwd();
  start = { shell: isSame(Deno.env.get("PWD"), own) ? Deno.env.get("PWD")! : own, own };
  return start;
}

function isSame(shell: string | undefined, own: string): boolean {
  try {
    const [one, other] = [Deno.statSync(shell!), Deno.statSync(own)];
    return shell!.startsWith("/") && one.ino === other.ino && one.dev === other.dev;
  } catch {
    // It is not set, or does not exist.
    return false;
  }
}
