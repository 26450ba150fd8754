/** `holdfast dev` with a browser: pages that nobody touches come to show what is saved. */
import { assertEquals } from "@std/assert";
import { DevelopmentServer } from "../harness/development.ts";
import { testWith } from "../harness/needs.ts";
import { packageProgram } from "../harness/packages.ts";
import { Project } from "../harness/project.ts";

const CHROMIUM = "/usr/bin/chromium";

const APP = `
import { title } from "./title.ts";
import { answer } from "./answer.ts";
const policy = { "content-security-policy": "default-src 'self'" };
export default {
  async fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/public/a.css") {
      const text = await Deno.readTextFile("./public/a.css");
      return new Response(text, { headers: { "content-type": "text/css" } });
    }
    if (pathname === "/throw") return answer();
    if (pathname !== "/") return new Response("", { status: 404 });
    return new Response(
      '<!doctype html><link rel="stylesheet" href="/public/a.css"><h1>' + title + "</h1>",
      { headers: { "content-type": "text/html", ...policy } },
    );
  },
};
`;

const titled = (title: string) => `export const title = ${JSON.stringify(title)};\n`;

/** What the browser asks for, and what is saved then. */
const EDITS: Readonly<Record<string, readonly [path: string, text: string]>> = {
  edit: ["title.ts", titled("two")],
  break: ["title.ts", "const before = 1;\nexport const title = ;\n"],
  mend: ["title.ts", titled("three")],
  style: ["public/a.css", "h1 { color: rgb(255, 0, 0) }"],
  throw: ["title.ts", titled("four")],
  catch: [
    "answer.ts",
    'export const answer = () => new Response("<h1>caught</h1>", { headers: { "content-type": "text/html" } });',
  ],
};

testWith(
  { programs: ["chromium"] },
  "in a browser a page shows what is saved, and what is wrong with it, by itself",
  async () => {
    await using project = await Project.create({
      files: {
        "app.ts": APP,
        "title.ts": titled("one"),
        "answer.ts": 'export const answer = (): Response => { throw new Error("thrown"); };',
        "public/a.css": "h1 { color: rgb(0, 0, 255) }",
      },
      config: { unveil: { "./public": "r" } },
    });
    await using server = await DevelopmentServer.start(project);
    const [command, ...args] = packageProgram("browse_development.ts", server.origin, CHROMIUM);
    const child = new Deno.Command(command, {
      args,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const complaints = new Response(child.stderr).text();
    const orders = child.stdin.getWriter();
    const made: string[] = [];
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      for (const name of chunk.trim().split("\n")) {
        await project.write(...EDITS[name]!);
        made.push(name);
        await orders.write(new TextEncoder().encode("done\n"));
      }
    }
    await orders.close().catch(() => {});
    assertEquals((await child.status).code, 0, `${await complaints}\n${server.text}`);
    assertEquals(made, Object.keys(EDITS));
    await server.says(/reloaded: title\.ts: serves \d+ ms after the save, page after \d+ ms/);
  },
);
