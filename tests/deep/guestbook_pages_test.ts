/** The guestbook's pages in a real browser, on a phone and on wide screens. */
import { assert, assertEquals } from "@std/assert";
import { drawPicture } from "../doubles/pictures.ts";
import { guestbookProject } from "../harness/guestbook.ts";
import { testWith } from "../harness/needs.ts";
import { packageProgram } from "../harness/packages.ts";
import { Server } from "../harness/server.ts";

const CHROMIUM = "/usr/bin/chromium";

interface Found {
  readonly violations: readonly string[];
  readonly phone: Readonly<Record<string, unknown>>;
  readonly wide: {
    readonly photos: readonly { readonly shown: number; readonly own: number }[];
    readonly columns: number;
  };
}

async function look(server: Server): Promise<Found> {
  const photos = { portrait: [300, 900], landscape: [900, 300] } as const;
  const paths: string[] = [];
  for (const [name, [width, height]] of Object.entries(photos)) {
    const path = server.project.path(`${name}.jpg`);
    await Deno.writeFile(path, await drawPicture("jpg", { width, height }));
    paths.push(path);
  }
  const [command, ...args] = packageProgram(
    "look_at_guestbook.ts",
    ...[server.project.origin, CHROMIUM, ...paths],
  );
  const { stdout, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  const decoder = new TextDecoder();
  const printed = decoder.decode(stdout);
  assert(printed.startsWith("{"), `${printed}\n${decoder.decode(stderr)}\n${server.log}`);
  return JSON.parse(printed);
}

testWith(
  { programs: ["chromium"], builds: true },
  "the guestbook's pages are accessible, and whoever signs on a phone sees the entry",
  async () => {
    await using server = await Server.startOn(await guestbookProject());
    const { violations, phone, wide } = await look(server);
    assertEquals(violations, []);
    assertEquals(phone, {
      formIsBelow: true,
      message: "From a phone",
      onScreen: true,
      marked: true,
      localTime: true,
      utc: true,
    });
    assertEquals(wide.photos.length, 2);
    // Neither is cropped.
    for (const { shown, own } of wide.photos) assert(Math.abs(shown / own - 1) < 0.05, `${shown}`);
    assertEquals(wide.photos.map(({ own }) => own > 1), [true, false]);
    assert(wide.columns > 3, `${wide.columns} columns`);
  },
);
