import type { Account } from "./config.ts";
import { quote, Refusal } from "./problem.ts";

// The id -1 means "leave it as it is" to setresuid(2): a worker would stay root.
const MAX_ID = 2 ** 32 - 2;

/**
 * Looks up the account that the workers run as. Only /etc/passwd and /etc/group are read; an account that
 * lives elsewhere (LDAP, systemd-homed) is given as two decimal ids.
 *
 * @throws what reading the two files throws
 */
export async function resolveAccount(user: string, group?: string): Promise<Account | Refusal> {
  const [passwd, groups] = await Promise.all(
    ["/etc/passwd", "/etc/group"].map((file) => Deno.readTextFile(file)),
  );
  return findAccount({ passwd: passwd!, groups: groups! }, user, group);
}

/** The pure part of {@link resolveAccount}, over the texts of passwd(5) and group(5). */
export function findAccount(
  { passwd, groups }: { passwd: string; groups: string },
  user: string,
  group?: string,
): Account | Refusal {
  const found = findEntry(passwd, user);
  const uid = parseId(found?.[2] ?? user);
  if (uid === undefined) {
    return new Refusal(
      "user_unknown",
      `no user ${quote(user)} in /etc/passwd`,
      "create it, or write decimal ids for user and group",
    );
  }
  const gid = parseId(group === undefined ? found?.[3] : findEntry(groups, group)?.[2] ?? group);
  if (gid === undefined) {
    return group === undefined
      ? new Refusal("group_missing", `user ${quote(user)} has no known group`, 'add "group"')
      : new Refusal(
        "group_unknown",
        `no group ${quote(group)} in /etc/group`,
        "create it, or write its decimal id",
      );
  }
  if (uid === 0 || gid === 0) {
    return new Refusal(
      "account_root",
      `user ${quote(user)} is uid ${uid}, gid ${gid}: workers never run as root or in its group`,
      uid === 0 ? "name another account" : 'name another "group"',
    );
  }
  return { user: found?.[0] ?? user, uid, gid };
}

/** The first entry with this name, or with this id when the text is a number; as libc does. */
function findEntry(table: string, wanted: string): string[] | undefined {
  const column = /^\d+$/.test(wanted) ? 2 : 0;
  return table.split("\n").map((line) => line.split(":")).find((entry) => entry[column] === wanted);
}

function parseId(text: string | undefined): number | undefined {
  const id = text !== undefined && /^(0|[1-9]\d{0,9})$/.test(text) ? Number(text) : Infinity;
  return id <= MAX_ID ? id : undefined;
}
