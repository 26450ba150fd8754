/**
 * The guestbook as people use it, in a real browser, behind the whole wall: what the kernel refuses
 * meanwhile is written down by strace, and must be what the runtime is known to do without.
 */
import { assert, assertEquals } from "@std/assert";
import puppeteer, { type Page } from "puppeteer-core";
import { guestbookProject } from "../harness/guestbook.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const STRACE = "/usr/bin/strace";

/** Refusals that are no alarm, each with what the runtime does instead. */
const KNOWN: readonly [pattern: RegExp, why: string][] = [
  [/^clone3\(.* ENOSYS /, "libc asks again with clone"],
  [/^fchown\(/, "SQLite gives root's files to the owner of the database, if it may"],
  [/^ioctl\(\d+, TCGETS/, "a look whether a device is a terminal"],
  [/^openat\(AT_FDCWD, "\/(proc|sys)\//, "sizes of the machine; there are defaults"],
  [/^openat\(AT_FDCWD, "\/etc\/(passwd|nsswitch\.conf)"/, "the home folder, where HOME is not set"],
  [/^socket\(AF_UNIX, /, "the cache of the name service, on the way to the home folder"],
  [
    /^(openat|unlink)\(.*\/(dep_analysis|node_analysis|v8_code)_cache_v2/,
    "Deno goes on without it",
  ],
  [/^(mkdir|symlink|readlink)\(.*\/node_compat_bin/, "a name for programs that it may not start"],
  [/^openat\(AT_FDCWD, "[^"]*\/\.holdfast\/lock"/, "the spawner's own probe of Landlock"],
  [/^pidfd_open\(/, "the runtime waits for children by SIGCHLD instead"],
];

/** One pixel. */
const PNG = Uint8Array.from(
  atob(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  ),
  (character) => character.charCodeAt(0),
);

const browserPath = CHROMIUM.find(isThere);
const missing = [
  ...browserPath === undefined ? ["chromium"] : [],
  ...isThere(STRACE) ? [] : ["strace"],
  ...Deno.uid() === 0 ? [] : ["root, for strace"],
];

Deno.test({
  name: missing.length === 0
    ? "in a browser, with SQLite and over reloads, the wall refuses nothing that the guestbook needs"
    : `SKIPPED, since there is no ${missing.join(", no ")}: the guestbook in a browser`,
  ignore: missing.length > 0,
  // The browser's driver keeps timers and sockets of its own until after its close.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const project = await guestbookProject();
    const trace = `${await Deno.makeTempDir()}/trace`;
    await using server = await Server.startOn(project, { wait: "nothing" });
    // Fast enough: its first worker is spawned a bundling later.
    const strace = new Deno.Command(STRACE, {
      args: ["-f", "-qq", "-Z", "-s", "256", "-o", trace, "-p", `${server.pid}`],
      stdin: "null",
      stderr: "null",
    }).spawn();
    await server.waitFor("serving");
    await useGuestbook(server);
    assertEquals((await server.stop()).code, 0);
    await strace.status;

    const refused = (await Deno.readTextFile(trace)).split("\n")
      .map((line) => line.replace(/^\d+\s+/, ""))
      .filter((line) => /= -1 (EPERM|EACCES|ENOSYS) |^--- SIGSYS/.test(line));
    // Without these, nobody was behind a wall, or nobody looked.
    assert(refused.some((line) => line.startsWith("clone3(")), "no worker was seen");
    assert(refused.some((line) => line.includes("/.holdfast/lock")), "no spawner was seen");
    assertEquals(refused.filter((line) => !KNOWN.some(([pattern]) => pattern.test(line))), []);
    for (const alarm of ["exec_denied", "call_denied", "worker_lost", "worker_violation"]) {
      assertEquals(server.eventsOf(alarm), []);
    }
  },
});

/** Reads, signs with and without a photo, watches live entries come, and goes on over reloads. */
async function useGuestbook(server: Server): Promise<void> {
  const browser = await puppeteer.launch({
    executablePath: browserPath!,
    args: ["--no-sandbox", "--disable-gpu"],
  });
  try {
    const watching = await browser.newPage();
    await watching.goto(server.project.origin);
    const signing = await browser.newPage();
    await sign(server, signing, "Ada", "Hello from a browser");
    await cardOf(watching, "Ada");
    assertEquals((await server.hangUp()).event, "reload_done");
    const photo = server.project.path("photo.png");
    await Deno.writeFile(photo, PNG);
    await sign(server, signing, "Grace", "With a photo", photo);
    await cardOf(watching, "Grace");
    const loaded = await signing.$$eval(
      "li.card img",
      (images) =>
        images.map((image) => (image as unknown as { naturalWidth: number }).naturalWidth),
    );
    assertEquals(loaded, [1]);
    assertEquals((await server.hangUp()).event, "reload_done");
    await signing.reload();
    await cardOf(signing, "Ada");
  } finally {
    await browser.close();
  }
}

async function sign(server: Server, page: Page, name: string, message: string, photo?: string) {
  await page.goto(server.project.origin);
  await page.type('input[name="name"]', name);
  await page.type('textarea[name="message"]', message);
  if (photo !== undefined) {
    const input = await page.$('input[name="photo"]');
    await (input as unknown as { uploadFile(path: string): Promise<void> }).uploadFile(photo);
  }
  await Promise.all([page.waitForNavigation(), page.click('button[type="submit"]')]);
  await cardOf(page, name);
}

async function cardOf(page: Page, name: string): Promise<void> {
  await until(`the entry of ${name}`, () => page.$(`li.card[data-name="${name}"]`).then(Boolean));
}

function isThere(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
