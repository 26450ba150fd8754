/** Whether systemd's journal reads standard error, and where else it takes entries. */
import { fstatSync } from "node:fs";

const STDERR = 2;

/**
 * systemd.exec(5): JOURNAL_STREAM has device and inode of the stream that systemd made; a
 * process that inherits the variable with another stderr, such as a file, is not read by the journal.
 *
 * @param stream the variable's value
 */
export function isJournal(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(STDERR, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    // Stderr is closed.
    return false;
  }
}

/** Where the journal takes entries (systemd-journald.service(8)). */
export const JOURNAL_SOCKET = "/run/systemd/journal/socket";
