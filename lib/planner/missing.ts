/** What a planner without the network misses, and what it takes to fetch that. */
import { join } from "node:path";
import type { Config } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";

/** Whether Deno says that it could not ask a registry, or a server. */
export function isMissing(message: string): boolean {
  return /error sending request|client error \(Connect\)|dns error|Operation not permitted/i
    .test(message);
}

/**
 * The variables that the settings of npm name (https://docs.npmjs.com/cli/configuring-npm/npmrc): the
 * project's, those above it, and the user's.
 */
export function findVariables({ app, helpers }: Pick<Config, "app" | "helpers">): string[] {
  const folders = [app, ...helpers.map((helper) => helper.app)].flatMap(({ project }) =>
    foldersAbove(join(project, "x"))
  );
  const home = Deno.env.get("HOME");
  const names = new Set<string>();
  for (const folder of new Set([...folders, ...home === undefined ? [] : [home]])) {
    let text = "";
    try {
      text = Deno.readTextFileSync(join(folder, ".npmrc"));
    } catch {
      // There is none, or it is not this user's to read.
    }
    for (const [, name] of text.matchAll(/\$\{(\w{1,128})\??\}/g)) names.add(name!);
  }
  return [...names];
}
