/** Whether systemd's journal reads standard error. */
import { fstatSync } from "node:fs";

const STDERR = 2;

/**
 * systemd.exec(5): JOURNAL_STREAM has device and inode of the stream that systemd made; whoever
 * inherits the variable with another stderr, such as a file, is not read by the journal.
 *
 * @param stream the variable's value
 */
export function isJournal(stream: string | undefined): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(STDERR, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    // A closed stderr is read by nobody.
    return false;
  }
}
