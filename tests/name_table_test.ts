/** What is known of names that processes may dial, whatever a name server answers. */
import { assert, assertEquals } from "@std/assert";
import { NameTable } from "../lib/supervisor/names.ts";

/** A table whose names are answered in turn, over and over. */
function table(answers: Readonly<Record<string, readonly (readonly string[])[]>>): NameTable {
  const asked: Record<string, number> = {};
  const names = new NameTable();
  names.setSource((name) => {
    const all = answers[name]!;
    return Promise.resolve(all[(asked[name] = (asked[name] ?? -1) + 1) % all.length]!);
  });
  return names;
}

const numbered = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => [`${prefix}${index + 1}`]);

Deno.test("an address is a name's that some look says so of", async () => {
  const names = table({ "a.test": [["10.0.0.1", "10.0.0.2"]], "b.test": [["10.0.1.1"]] });
  assertEquals(await names.belongs("10.0.1.1", ["a.test", "b.test"]), true);
  assertEquals(await names.belongs("10.0.0.2", ["a.test", "b.test"]), true);
  // None that stays as it is can be meant.
  assertEquals(await names.belongs("10.0.0.3", ["a.test", "b.test"]), false);
  assertEquals(names.instead(["a.test", "b.test"]), []);
  // Of one alone any will do.
  assertEquals(await names.belongs("10.0.0.3", ["a.test"]), false);
  assertEquals(names.instead(["a.test"]), ["10.0.0.2", "10.0.0.1"]);
});

Deno.test("an address that no name is known to have is of the one that changes, and of no other", async () => {
  const names = table({
    "changing.test": numbered("10.1.0.", 200),
    "steady.test": [["10.0.0.1"]],
    "turning.test": [["10.0.0.8", "10.0.0.9"], ["10.0.0.9", "10.0.0.8"]],
    "gone.test": [[]],
  });
  const all = ["changing.test", "steady.test", "turning.test"];
  assertEquals(await names.belongs("192.0.2.1", all), false);
  const instead = names.instead(all);
  assert(instead.length > 0 && instead.every((each) => each.startsWith("10.1.0.")), `${instead}`);
  // Of one that cannot be looked up it is not known whether it changes.
  assertEquals(await names.belongs("192.0.2.1", [...all, "gone.test"]), false);
  assertEquals(names.instead([...all, "gone.test"]), []);
});

Deno.test("where several names change, each of some addresses, all of these are found", async () => {
  const names = table({ "a.test": numbered("10.1.0.", 30), "b.test": numbered("10.2.0.", 30) });
  assertEquals(await names.belongs("10.2.0.29", ["a.test", "b.test"]), true);
  assertEquals(await names.belongs("10.1.0.30", ["a.test", "b.test"]), true);
  assertEquals(await names.belongs("10.3.0.1", ["a.test", "b.test"]), false);
  assertEquals(names.instead(["a.test", "b.test"]), []);
});
