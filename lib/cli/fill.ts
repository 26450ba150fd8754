/** Plain text on lines that fit; no package is loaded for it. */

/** Puts words behind a text; lines below the first one begin with `indent`. */
export function fill(start: string, words: readonly string[], indent: string, width = 80): string {
  const found = [start];
  for (const word of words) {
    const line = found.at(-1)!;
    if (line.length + 1 + word.length <= width) found[found.length - 1] = `${line} ${word}`;
    else found.push(indent + word);
  }
  return found.join("\n");
}

/** The lines of a text; what does not fit is below them, after their own indent and `more`. */
export function fillLines(text: string, width: number, more = ""): string {
  return text.split("\n").map((line) => {
    if (line.length <= width) return line;
    const [indent = ""] = /^ */.exec(line)!;
    const [first = "", ...words] = line.slice(indent.length).split(" ");
    return fill(indent + first, words, indent + more, width);
  }).join("\n");
}
