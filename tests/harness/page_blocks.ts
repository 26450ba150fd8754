/** The blocks of code of a page, and what each is for. */
import { assert } from "@std/assert";

/** One block between fences. */
export interface Block {
  readonly language: string;
  readonly text: string;
  /** The file that it is, whole. */
  readonly title: string | undefined;
  /** It is not run: it needs what no test has. */
  readonly ignored: boolean;
  /** Its line in the page. */
  readonly line: number;
}

/** A command of a block, with what must be seen of it. */
export interface Command {
  readonly text: string;
  /** Lines that it prints, in this order, among others; `...` stands for anything. */
  readonly prints: readonly string[];
  readonly status: number;
}

/** A block; the line before it may end with the name of the file that it is. */
const FENCE = /(?:`([^`\n ]+)`:\n\n)?^```(\w*)([^\n]*)\n([\s\S]*?)^```$/gm;

/** The blocks of a page, in their order. */
export function blocksOf(page: string): Block[] {
  return [...page.matchAll(FENCE)].map((found) => {
    const { 1: title, 2: language = "", 3: info = "", 4: text = "", index } = found;
    const line = page.slice(0, index).split("\n").length;
    return { language, text, title, ignored: /\bignore\b/.test(info), line };
  });
}

/**
 * The commands of a block of `sh`. Lines that begin with `# ` after a command are what it prints, and
 * `# exit status 1` is how it ends; those before the first command are for people.
 */
export function commandsOf({ text }: Block): Command[] {
  const found: { text: string; prints: string[]; status: number }[] = [];
  for (const line of text.replaceAll("\\\n", " ").split("\n")) {
    const command = found.at(-1);
    if (line.trim() === "") continue;
    if (!line.startsWith("# ")) found.push({ text: line, prints: [], status: 0 });
    else if (command !== undefined) {
      const status = /^# exit status (\d+)$/.exec(line)?.[1];
      if (status === undefined) command.prints.push(line.slice(2));
      else command.status = Number(status);
    }
  }
  return found;
}

/** Whether a line that was printed is as a page has it, but for the space between words. */
function fits(printed: string, wanted: string): boolean {
  const plain = (text: string) => text.trim().replace(/\s+/g, " ");
  const parts = plain(wanted).split("...").map((part) =>
    part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
  );
  return new RegExp(`^${parts.join(".*")}$`).test(plain(printed));
}

/** Fails unless a text has the lines that are wanted, in their order. */
export function assertPrints(text: string, wanted: readonly string[], where: string): void {
  const lines = text.split("\n");
  let at = 0;
  for (const line of wanted) {
    const found = lines.findIndex((each, index) => index >= at && fits(each, line));
    assert(found >= 0, `${where}: does not print\n  ${line}\nbut\n${text}`);
    at = found + 1;
  }
}
