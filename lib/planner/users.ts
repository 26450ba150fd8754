/** The users and groups of this machine, as files say (passwd(5), group(5)). */

/** The users and groups of a machine. */
export interface Users {
  readonly names: ReadonlyMap<number, string>;
  readonly groups: ReadonlyMap<number, { readonly name: string }>;
  /** Who is in a group, by ids; nothing if no file knows it. */
  membersOf(gid: number): readonly number[] | undefined;
}

/**
 * Reads both files' texts.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const users = parseUsers("ada:x:7:7::/:/bin/sh\nbob:x:8:9::/:/bin/sh", "ada:x:7:\nall:x:9:ada");
 * assertEquals(users.membersOf(7), [7]);
 * assertEquals(users.membersOf(9), [8, 7]);
 * assertEquals(users.membersOf(10), undefined);
 * ```
 */
export function parseUsers(passwd: string, group: string): Users {
  const rows = (text: string) => text.split("\n").map((line) => line.split(":"));
  const users = rows(passwd).filter(({ length }) => length >= 4)
    .map(([name = "", , uid, gid]) => ({ name, uid: Number(uid), gid: Number(gid) }));
  const groups = new Map(
    rows(group).filter(({ length }) => length >= 3).map(([name = "", , gid, members = ""]) =>
      [Number(gid), { name, members: members.split(",") }] as const
    ),
  );
  return {
    names: new Map(users.map(({ uid, name }) => [uid, name])),
    groups,
    membersOf(gid) {
      const primary = users.filter((user) => user.gid === gid);
      const found = groups.get(gid);
      if (found === undefined && primary.length === 0) return undefined;
      const named = users.filter(({ name }) => found?.members.includes(name));
      return [...new Set([...primary, ...named].map(({ uid }) => uid))];
    },
  };
}

/** Those of this machine. */
export function listUsers(): Users {
  const read = (path: string) => {
    try {
      return Deno.readTextFileSync(path);
    } catch {
      return "";
    }
  };
  return parseUsers(read("/etc/passwd"), read("/etc/group"));
}
