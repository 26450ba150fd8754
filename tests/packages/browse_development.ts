/**
 * Looks at a page of `holdfast dev` while its sources change. It prints what it wants changed, and waits
 * for a line; then the page must come to show it by itself.
 *
 *     browse_development.ts ORIGIN BROWSER
 */
import puppeteer, { type Page } from "puppeteer-core";

const [origin, executablePath] = Deno.args as [string, string];

const lines = Deno.stdin.readable.getReader();

async function order(what: string): Promise<void> {
  // deno-lint-ignore no-console
  console.log(what);
  await lines.read();
}

/** Waits until code that runs in the page gives true. */
async function shows(page: Page, code: string): Promise<void> {
  await page.waitForFunction(code, { timeout: 30_000 });
}

const title = (text: string) => `document.querySelector("h1")?.textContent === "${text}"`;
const overlay = `document.querySelector("holdfast-overlay")`;

const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(origin);
  await shows(page, title("one"));
  await shows(page, "window.holdfastDevelopment === true");
  await order("edit");
  await shows(page, title("two"));
  await shows(page, "window.holdfastDevelopment === true");
  await order("break");
  await shows(page, `${overlay} !== null`);
  const text = await page.evaluate(`${overlay}.shadowRoot.textContent`);
  for (const part of ["title.ts:2:22", "> 2 | export const title = ;", "goes on serving"]) {
    if (!String(text).includes(part)) throw new Error(`The overlay lacks ${part}: ${text}`);
  }
  await order("mend");
  await shows(page, `${overlay} === null && ${title("three")}`);
  await shows(page, "window.holdfastDevelopment === true");
  await page.evaluate("window.kept = true");
  await order("style");
  await shows(page, `getComputedStyle(document.querySelector("h1")).color === "rgb(255, 0, 0)"`);
  if (!await page.evaluate("window.kept")) throw new Error("Another style loaded the page again");
  await order("throw");
  await page.goto(`${origin}/throw`);
  await shows(page, `document.body.textContent.includes("thrown")`);
  await order("catch");
  await shows(page, title("caught"));
  const foreign = complaints.filter((each) => !/status of (500|404)|favicon/.test(each));
  if (foreign.length > 0) throw new Error(`The browser complains: ${foreign.join("; ")}`);
} finally {
  await browser.close();
}
Deno.exit(0);
