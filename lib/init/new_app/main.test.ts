import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";

mkdirSync("data", { recursive: true });

test("a note that is added is listed, as text", async () => {
  const { default: app } = await import("./main.tsx");
  const text = `<b>${crypto.randomUUID()}</b>`;
  const answer = await app.request("/", { method: "POST", body: new URLSearchParams({ text }) });
  assert.equal(answer.status, 303);
  const page = await (await app.request("/")).text();
  assert.ok(page.includes(text.replaceAll("<", "&lt;").replaceAll(">", "&gt;")));
});

test("a file that is uploaded comes back as it was, to be saved", async () => {
  const { default: app } = await import("./main.tsx");
  const [name, bytes] = [`${crypto.randomUUID()}.bin`, crypto.getRandomValues(new Uint8Array(99))];
  const body = new FormData();
  body.set("text", "with a file");
  body.set("file", new File([bytes], name));
  assert.equal((await app.request("/", { method: "POST", body })).status, 303);
  const page = await (await app.request("/")).text();
  const [, link] = page.match(`<a href="([^"]+)">${name}</a>`) ?? [];
  const answer = await app.request(link ?? "");
  assert.deepEqual(new Uint8Array(await answer.arrayBuffer()), bytes);
  assert.match(answer.headers.get("content-disposition") ?? "", /^attachment;/);
  assert.equal((await app.request("/files/0")).status, 404);
});
