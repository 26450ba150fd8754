/** What a terminal shows, kept as text in tests/screens. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { textWidth } from "../../lib/cli/text.ts";
import { REPOSITORY } from "./project.ts";

/** With this variable screens are written instead of compared, to be read before they are committed. */
const WRITE = "WRITE_SCREENS";

/** Compares a text with the screen of that name, which is as wide as it may be. */
export function assertScreen(name: string, text: string, width: number): void {
  const tooLong = text.split("\n").filter((line) => textWidth(line) > width);
  assertEquals(tooLong, [], `${name} is wider than ${width} columns`);
  assertEquals(text.split("\n").filter((line) => / $/.test(line)), [], `${name} ends in blanks`);
  const file = join(REPOSITORY, "tests/screens", `${name}.${width}.txt`);
  if (Deno.env.has(WRITE)) Deno.writeTextFileSync(file, `${text}\n`);
  const expected = Deno.readTextFileSync(file);
  assert(`${text}\n` === expected, `${file} differs; with ${WRITE}=1 it is written:\n${text}`);
}
