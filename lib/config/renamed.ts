/** Keys that were renamed: the old name is accepted for one version, with a warning. Pure. */
import { findNodeAtLocation, type Node } from "jsonc-parser";

const RENAMED = [
  { path: ["reload", "announceMs"], to: "shutdownDelayMs" },
  { path: ["on_violation"], to: "onViolation" },
];

/**
 * Gives keys with an old name their new one, in the tree of a file. So a file with both names has the
 * same key twice, which is refused like any repeated key.
 */
export function renameOldKeys(tree: Node): { old: string; new: string; offset: number }[] {
  return RENAMED.flatMap(({ path, to }) => {
    const property = findNodeAtLocation(tree, path)?.parent?.children;
    const key = property?.[0];
    if (property === undefined || key === undefined) return [];
    property[0] = { ...key, value: to };
    const name = [...path.slice(0, -1), to].join(".");
    return [{ old: path.join("."), new: name, offset: key.offset }];
  });
}
