/** What the acme process is granted: its folder, and the authority's server. Pure. */
import { acmeFolder, authorityOf } from "../config/acme_place.ts";
import type { Config } from "../config/config.ts";
import type { Walled } from "./wall.ts";

/**
 * The compartment of the process that gets certificates. It reads what the authority answers, and what
 * strangers send to port 80. It never runs as the workers' user, who is to read no key.
 *
 * @param module its program, which Holdfast brings
 */
export function acmeCompartment(
  { limits, app, runtime }: Pick<Config, "limits" | "app" | "runtime">,
  { directory, trust, listen }: NonNullable<Config["acme"]>,
  module: string,
): Walled {
  const own = { path: acmeFolder(runtime), rights: "rwc", exists: true, folder: true };
  const file = (path: string) => ({ path, rights: "r", exists: true, folder: false });
  return {
    app: { module, project: app.project },
    unveil: [own, ...trust === undefined ? [] : [file(trust)]],
    env: [],
    net: [authorityOf(directory)],
    ...{ limits, account: undefined, listen, jitless: true },
  };
}
