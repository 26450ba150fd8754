/** Compares what a config grants with what the version grants that serves. */
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { widening } from "../config/policy_lines.ts";
import type { KeptRelease } from "../supervisor/releases.ts";
import type { Warning } from "./make_image.ts";

/** How many lines are told. */
const MAX_TOLD = 50;

/** The release that served last, by what the supervisor keeps beside the images. */
export function lastRelease(images: string): KeptRelease | undefined {
  try {
    const [last] = JSON.parse(Deno.readTextFileSync(join(images, "releases.json")));
    return last;
  } catch {
    return undefined;
  }
}

/**
 * Tells what a config grants that the one before did not. The setting of the one before decides whether that
 * needs to be allowed.
 *
 * @param mayWiden whether it is allowed, or nothing serves
 * @throws {HoldfastError} if it is not
 */
export function judgeWidening(config: Config, images: string, mayWiden: boolean): Warning[] {
  const before = lastRelease(images)?.config;
  if (before === undefined) return [];
  const { added, isAsked } = widening(before, config);
  if (added.length === 0) return [];
  const lines = added.slice(0, MAX_TOLD).map((line) => `+ ${line}`);
  if (added.length > lines.length) lines.push(`and ${added.length - lines.length} more`);
  if (isAsked && !mayWiden && before.reload.widen === "ask") {
    throw new HoldfastError(`It grants more than what serves: ${lines.join(", ")}`, {
      kind: "config",
      code: "policy_widened",
      hint: "If that is meant: holdfast reload --widen",
    });
  }
  return [{
    event: "policy_widened",
    path: config.file,
    added: lines,
    hint:
      'holdfast diff shows it before a reload; with "reload": { "widen": "ask" } it is refused first',
  }];
}
