import { assert } from "@std/assert";
import { corpusOf, fuzz } from "./fuzz/fuzz.ts";
import { TARGETS } from "./fuzz/targets.ts";

/** A small part of what `deno task fuzz` does, and always the same. */
const INPUTS = 400;
const SEED = 20261129;

for (const target of TARGETS) {
  Deno.test(`no bytes that strangers choose are misread: ${target.name}`, () => {
    assert(corpusOf(target).length > 2);
    fuzz(target, SEED, (tried) => tried < INPUTS);
  });
}
