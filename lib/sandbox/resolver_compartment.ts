/** What the resolver is granted: the names that it looks up. Pure. */
import { authorityOf } from "../config/acme_place.ts";
import type { Config } from "../config/config.ts";
import { dialledOf } from "./dialling.ts";
import type { Walled } from "./wall.ts";

/** The names that processes of a config may dial, in order. */
export function namesOf(
  { net, helpers, traces, acme }: Pick<Config, "net" | "helpers" | "traces" | "acme">,
): string[] {
  const entries = [
    ...net,
    ...helpers.flatMap((helper) => helper.net),
    ...traces ? [traces.collector] : [],
    ...acme ? [authorityOf(acme.directory)] : [],
  ];
  const names = dialledOf(entries).filter(({ isName }) => isName).map(({ host }) => host);
  return [...new Set(names)].sort();
}

/**
 * The resolver's compartment. It runs as the workers do: it reads what name servers answer.
 *
 * @param module its program, which Holdfast brings
 */
export function resolverCompartment(
  { limits, account, app }: Pick<Config, "limits" | "account" | "app">,
  names: readonly string[],
  module: string,
): Walled {
  const place = { module, project: app.project };
  const own = { resolves: true, jitless: true };
  return { app: place, unveil: [], env: [], net: names, limits, account, ...own };
}
