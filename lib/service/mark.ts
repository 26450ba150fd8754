/** The first line of each file that is installed: who wrote it, and a digest of the rest. */
import { sha256 } from "../protocol/image.ts";

const MARK = /^# Written by holdfast service install, sha256:([0-9a-f]{64})\n/;

/** A text with its mark. */
export async function marked(text: string): Promise<string> {
  return `# Written by holdfast service install, sha256:${await sha256(text)}\n${text}`;
}

/** What is known of a file by its text. */
export type Origin =
  /** As it was written. */
  | "ours"
  /** Written by this command, and changed since. */
  | "edited"
  | "foreign";

/** Who wrote a file. */
export async function originOf(text: string): Promise<Origin> {
  const [mark, digest] = MARK.exec(text) ?? [];
  if (mark === undefined) return "foreign";
  return await sha256(text.slice(mark.length)) === digest ? "ours" : "edited";
}
