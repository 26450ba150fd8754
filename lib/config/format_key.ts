/** Keys of the config, in messages. */
import { escapeUntrusted } from "../base/escape.ts";
import { MAX_ECHO, quote } from "./problem.ts";

/** The spelling of a key path: `reload.idleGraceMs`, `listen[0]`, `unveil["./data"]`. */
export function formatKey(path: readonly PropertyKey[]): string {
  return path.map((part, index) => {
    if (typeof part === "number") return `[${part}]`;
    const name = String(part);
    if (!/^[\w$]+$/.test(name)) return `[${quote(name)}]`;
    return index === 0 ? escapeUntrusted(name, MAX_ECHO) : `.${escapeUntrusted(name, MAX_ECHO)}`;
  }).join("");
}
