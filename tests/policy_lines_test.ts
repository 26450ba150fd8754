/** What a config grants, as `reload`, `diff` and the event `policy_widened` tell it. */
import { assertEquals } from "@std/assert";
import type { Config } from "../lib/config/config.ts";
import { widening } from "../lib/config/policy_lines.ts";
import { makeConfig } from "./harness/config.ts";

const HELPER = { name: "mail", app: {}, unveil: [], env: [], net: [], limits: {} };

Deno.test("all that a config grants more than another is a line, and what needs asking is known", () => {
  const unveil = { path: "/srv/1/data", rights: "r", exists: true, folder: true } as const;
  const from = makeConfig({ folder: "/srv/1", unveil: [unveil] });
  const to = (change: object): string[] => {
    const { added, isAsked } = widening(from, { ...from, ...change } as Config);
    return [...added, ...isAsked ? ["asked"] : []];
  };
  assertEquals(to({}), []);
  // A release in another folder has the same paths, as from there.
  assertEquals(to({ folder: "/srv/2", unveil: [{ path: "/srv/2/data", rights: "r" }] }), []);
  assertEquals(to({ unveil: [] }), []);
  assertEquals(
    to({ unveil: [{ path: "/srv/1/data", rights: "rwc" }, { path: "/mnt", rights: "r" }] }),
    ["unveil ./data w (worker)", "unveil ./data c (worker)", "unveil /mnt r (worker)", "asked"],
  );
  assertEquals(to({ dropAfterOpen: ["/srv/1/data"] }), [
    "unveil ./data r until open() (worker)",
    "asked",
  ]);
  assertEquals(to({ net: ["a.example:443"] }), ["net a.example:443 (worker)", "asked"]);
  assertEquals(to({ sys: ["hostname"] }), ["sys hostname (worker)", "asked"]);
  assertEquals(to({ wall: "deno" }), ["wall deno", "asked"]);
  assertEquals(to({ onViolation: "log" }), ["onViolation log", "asked"]);
  assertEquals(to({ env: ["TOKEN"] }), ["env TOKEN (worker)"]);
  assertEquals(to({ helpers: [{ ...HELPER, jitless: true }] }), ["helper mail"]);
  assertEquals(to({ helpers: [{ ...HELPER, jitless: true, native: true }] }), [
    "helper mail",
    "native (helper mail)",
    "asked",
  ]);
  assertEquals(widening({ ...from, jitless: true }, from).added, ["V8's compilers (worker)"]);
  assertEquals(widening({ ...from, wall: "deno" }, from), {
    added: ["wall kernel"],
    isAsked: false,
  });
});
