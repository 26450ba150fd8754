/**
 * How a process of an executable gives up what is not its own. The executable was built with what
 * all of its processes need; each keeps its part, before anything else of it is loaded.
 */
import { findListFaults, queryState, type State } from "../child/grants.ts";
import { LISTED_KINDS, type Permissions } from "../protocol/native.ts";
import type { Grants } from "../protocol/to_worker.ts";

type Kind = (typeof LISTED_KINDS)[number];

/** Kinds that a worker may keep something of. */
const GRANTED = ["read", "write", "net", "env", "sys"] as const;

function descriptor(kind: Kind, name: string): Deno.PermissionDescriptor {
  switch (kind) {
    case "read":
    case "write":
      return { name: kind, path: name };
    case "net":
      return { name: kind, host: name };
    case "env":
      return { name: kind, variable: name };
    case "run":
      return { name: kind, command: name };
    case "sys":
      return { name: kind, kind: name as "uid" };
  }
}

/** Whether what is kept has a name in it. */
function isKept(kind: Kind, name: string, kept: Permissions): boolean {
  return kept[kind].some((own) => {
    if (own === name) return true;
    if (kind === "read" || kind === "write") return name.startsWith(own.replace(/\/?$/, "/"));
    // A host without a port is all of its ports.
    return kind === "net" && !own.startsWith("unix:") && name.replace(/:\d+$/, "") === own;
  });
}

/** Gives up everything of `union` that is not in `kept`. */
export function narrow(
  union: Permissions,
  kept: Permissions,
  revoke: (descriptor: Deno.PermissionDescriptor) => void = revokeNow,
): void {
  for (const kind of LISTED_KINDS) {
    // A path that is kept may lie in one that is not: giving up the wider leaves the narrower.
    for (const name of union[kind]) {
      if (!isKept(kind, name, kept)) revoke(descriptor(kind, name));
    }
  }
  if (union.ffi && !kept.ffi) revoke({ name: "ffi" });
  for (const kind of ["run", "sys"] as const) {
    if (kept[kind].length === 0) revoke({ name: kind });
  }
}

function revokeNow(descriptor: Deno.PermissionDescriptor): void {
  Deno.permissions.revokeSync(descriptor);
}

/** What is still there and should not be, a line each. */
export function findLeftovers(
  union: Permissions,
  kept: Permissions,
  state: State = queryState,
): string[] {
  const faults: string[] = [];
  for (const kind of LISTED_KINDS) {
    if (state({ name: kind }) === "granted") faults.push(`${kind} is granted for everything`);
    for (const name of union[kind]) {
      if (isKept(kind, name, kept)) continue;
      if (state(descriptor(kind, name)) === "granted") faults.push(`${kind} of ${name} is granted`);
    }
  }
  if (!kept.ffi && state({ name: "ffi" }) === "granted") faults.push("ffi is granted");
  if (state({ name: "import" }) === "granted") faults.push("import is granted");
  return faults;
}

/**
 * The judge of a process that has narrowed itself: what was given up reads as a question that nobody
 * answers, not as denied. What it kept was built in, what it is granted comes from its supervisor:
 * neither may be more than the other.
 */
export function nativeJudge(
  union: Permissions,
  kept: Permissions,
  state: State = queryState,
) {
  return (grants: Grants): string[] => [
    ...[...kept.run, ...kept.ffi ? ["ffi"] : []].map((name) => `${name} is kept`),
    ...GRANTED.flatMap((kind) =>
      kept[kind].filter((name) => !grants[kind]?.includes(name))
        .map((name) => `${kind} of ${name} is kept`)
    ),
    ...findLeftovers(union, kept, state),
    ...findListFaults(grants, state),
  ];
}
