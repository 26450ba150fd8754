/**
 * Uses a guestbook as people do: reads, signs with and without a photo, watches live entries come,
 * and goes on over reloads. It prints "reload" where it wants one, and waits for a line.
 *
 *     browse_guestbook.ts ORIGIN BROWSER PHOTO
 */
import puppeteer, { type Page } from "puppeteer-core";

const [origin, executablePath, photo] = Deno.args as [string, string, string];

const lines = Deno.stdin.readable.getReader();

async function reload(): Promise<void> {
  // deno-lint-ignore no-console
  console.log("reload");
  await lines.read();
}

async function sign(page: Page, name: string, message: string, photo?: string): Promise<void> {
  await page.goto(origin);
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
  await page.waitForSelector(`li.card[data-name="${name}"]`);
}

const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const watching = await browser.newPage();
  await watching.goto(origin);
  const signing = await browser.newPage();
  await sign(signing, "Ada", "Hello from a browser");
  await cardOf(watching, "Ada");
  await reload();
  await sign(signing, "Grace", "With a photo", photo);
  await cardOf(watching, "Grace");
  const loaded = await signing.$$eval(
    "li.card img",
    (images) => images.map((image) => (image as unknown as { naturalWidth: number }).naturalWidth),
  );
  if (loaded.length !== 1 || loaded[0] !== 1) throw new Error(`The photos are ${loaded} wide`);
  await reload();
  await signing.reload();
  await cardOf(signing, "Ada");
} finally {
  await browser.close();
}
Deno.exit(0);
