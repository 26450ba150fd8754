import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";

test("a note that is added is listed, as text", async () => {
  mkdirSync("data", { recursive: true });
  const { default: app } = await import("./main.tsx");
  const text = `<b>${crypto.randomUUID()}</b>`;
  const answer = await app.request("/", { method: "POST", body: new URLSearchParams({ text }) });
  assert.equal(answer.status, 303);
  const page = await (await app.request("/")).text();
  assert.ok(page.includes(text.replaceAll("<", "&lt;").replaceAll(">", "&gt;")));
});
