/**
 * The worker's own look at what it was given, before anything of the app is loaded. Its flags were
 * computed elsewhere, and `node:child_process` gives a `deno run` without permission flags all of
 * them: one wrong step there must end here, not in an app that may do anything.
 */
import type { Grants } from "../protocol/to_worker.ts";

/** Kinds that no worker ever has; `sys` only for facts that are granted, `ffi` only for packages. */
const NEVER = ["run", "ffi", "sys", "import"] as const;

/** What was granted for the start alone reads as a question when it was given up: none is asked. */
const GIVEN_UP: readonly Deno.PermissionState[] = ["denied", "prompt"];

/** Kinds that a worker may have for a list of names, never as a whole. */
const LISTED = ["read", "write", "net", "env"] as const;

/** Tells the state of one permission. */
export type State = (
  descriptor: Deno.PermissionDescriptor | { name: "import" },
) => Deno.PermissionState;

/** Reads one state off the runtime. */
export function queryState(
  descriptor: Deno.PermissionDescriptor | { name: "import" },
): Deno.PermissionState {
  return Deno.permissions.querySync(descriptor as Deno.PermissionDescriptor).state;
}

/**
 * What is wider or narrower than the policy says, a line each; none if all is as it should be.
 *
 * @param state tells the state of one permission
 */
export function findGrantFaults(grants: Grants, state: State = queryState): string[] {
  const faults: string[] = [];
  const { sys = [] } = grants;
  for (const name of NEVER) {
    if (name === "sys" && sys.length > 0) continue;
    const fine: readonly Deno.PermissionState[] = name === "ffi" ? GIVEN_UP : ["denied"];
    if (!fine.includes(state({ name }))) faults.push(`${name} is not denied`);
  }
  return [...faults, ...findListFaults(grants, state)];
}

/**
 * Gives paths up for good.
 *
 * @throws {Error} if one stays granted, or another goes with it
 */
export function dropPaths({ drop = [], ...grants }: Grants): void {
  if (drop.length === 0) return;
  for (const path of drop) {
    for (const name of ["read", "write"] as const) Deno.permissions.revokeSync({ name, path });
  }
  const kept = (paths: readonly string[]) => paths.filter((path) => !drop.includes(path));
  const faults = [
    ...findListFaults({ ...grants, read: kept(grants.read), write: kept(grants.write) }),
    ...drop.flatMap((path) =>
      (["read", "write"] as const).filter((name) => queryState({ name, path }) === "granted")
        .map((name) => `${name} of ${path} is granted still`)
    ),
  ];
  if (faults.length > 0) throw new Error(`Cannot give up what is dropped: ${faults.join("; ")}`);
}

/** The same for the kinds that are lists of names. */
export function findListFaults(grants: Grants, state: State = queryState): string[] {
  const faults: string[] = [];
  for (const name of LISTED) {
    if (state({ name }) === "granted") faults.push(`${name} is granted for everything`);
  }
  const expect = (kind: string, value: string, descriptor: Deno.PermissionDescriptor) => {
    if (state(descriptor) !== "granted") faults.push(`${kind} of ${value} is not granted`);
  };
  for (const path of grants.read) expect("read", path, { name: "read", path });
  for (const path of grants.write) expect("write", path, { name: "write", path });
  for (const host of grants.net) expect("net", host, { name: "net", host });
  for (const variable of grants.env) expect("env", variable, { name: "env", variable });
  const { sys = [] } = grants;
  if (sys.length > 0 && state({ name: "sys" }) === "granted") {
    faults.push("sys is granted for everything");
  }
  for (const kind of sys) {
    expect("sys", kind, { name: "sys", kind } as Deno.SysPermissionDescriptor);
  }
  return faults;
}
