import { assertEquals, assertStringIncludes } from "@std/assert";
import { laidOver, OVERRIDABLE, overrideOf, refusedKeys } from "../lib/config/override.ts";
import { parseConfig } from "../lib/config/parse.ts";
import { ConfigError } from "../lib/config/problem.ts";
import { ConfigSchema } from "../lib/config/schema.ts";

const BASE = { app: "./main.ts", listen: ["127.0.0.1:8000"], unveil: { "./data/": "rwc" } };

function parseOver(override: string) {
  const over = overrideOf("/srv/guestbook.jsonc", override, "/srv");
  return parseConfig(JSON.stringify(BASE), "/image/holdfast.jsonc", over);
}

Deno.test("every key of the config that is not listed as one that may change is refused", () => {
  for (const key of Object.keys(ConfigSchema.shape)) {
    const refused = refusedKeys({ [key]: null }, { ...BASE, user: "www" }).map(({ key }) => key);
    const mayChange = (OVERRIDABLE as readonly string[]).includes(key) || key === "$schema";
    assertEquals(refused, mayChange ? [] : [[key]], key);
  }
});

Deno.test("an object of an override changes the keys that it has, and leaves the others", () => {
  const base = { ...BASE, log: { folder: "./log", keep: 3 }, reload: { idleGraceMs: 1 } };
  const over = { log: { keep: 4, folder: "logs" }, listen: ["unix:a.sock", { unix: "/b.sock" }] };
  assertEquals(laidOver(base, over, "/srv"), {
    ...base,
    log: { folder: "/srv/logs", keep: 4 },
    listen: ["unix:/srv/a.sock", { unix: "/b.sock" }],
  });
});

Deno.test("what is wrong with an override names its file, its line and its column", () => {
  for (
    const [text, words] of [
      ['{\n  "unveil": { "/": "r" } }', "/srv/guestbook.jsonc:2:3: unveil:"],
      ['{ "limits": { "descriptors": 1 } }', "/srv/guestbook.jsonc:1:30: limits.descriptors:"],
      ['{ "listen": ["example.com:80"] }', "/srv/guestbook.jsonc:1:14: listen[0]:"],
      ['{ "listen": 1 }', "/srv/guestbook.jsonc:1:13: listen:"],
      ['{ "log": 1 }', "/srv/guestbook.jsonc:1:10: log:"],
      ["{", "/srv/guestbook.jsonc:1:2:"],
      ['{ "reload": {}, "reload": {} }', "/srv/guestbook.jsonc:1:17: reload:"],
    ] as const
  ) {
    try {
      parseOver(text);
      throw new Error(`${text} was taken`);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      assertStringIncludes(error.message, words);
    }
  }
  for (const text of ["[]", "1", "null", '"text"']) {
    let refused = false;
    try {
      parseOver(text);
    } catch (error) {
      refused = error instanceof ConfigError;
    }
    assertEquals(refused, true, text);
  }
});

Deno.test("an empty override changes nothing", () => {
  assertEquals(parseOver("{}").values, parseConfig(JSON.stringify(BASE), "/x").values);
});
