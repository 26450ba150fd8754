/**
 * Looks at the pages of a guestbook as screens of some widths show them, in light and in dark, and
 * signs it on a phone. It prints what it found as one line of JSON.
 *
 *     look_at_guestbook.ts ORIGIN BROWSER PORTRAIT LANDSCAPE [FOLDER FOR PICTURES]
 */
import axe from "axe-core";
import puppeteer, { type Browser, type Page } from "puppeteer-core";

const [origin, executablePath, portrait, landscape, pictures] = Deno.args as [
  string,
  string,
  string,
  string,
  string?,
];

const PHONE = { width: 390, height: 844 };
const WIDTHS = [390, 1280];
const WIDE = 2400;
/** Nowhere is it UTC there. */
const ZONE = "Pacific/Kiritimati";

/** What axe-core finds wrong, as `WIDTH SCHEME PAGE: RULE of ELEMENT`. */
const violations: string[] = [];

/** What runs in the page; its types are those of a browser, which this program has not. */
// deno-lint-ignore no-explicit-any
type Window = any;

async function judge(page: Page, name: string): Promise<void> {
  for (const width of WIDTHS) {
    for (const scheme of ["light", "dark"]) {
      await page.setViewport({ width, height: 900 });
      await page.emulateMediaFeatures([
        { name: "prefers-color-scheme", value: scheme },
        // A colour that is being faded in is none of the page's.
        { name: "prefers-reduced-motion", value: "reduce" },
      ]);
      await page.evaluate(axe.source);
      const found: string[] = await page.evaluate(async () => {
        const { violations } = await (globalThis as Window).axe.run();
        return violations.flatMap(({ id, nodes }: Window) =>
          nodes.map(({ target }: Window) => `${id} of ${target}`)
        );
      });
      violations.push(...found.map((each) => `${width} ${scheme} ${name}: ${each}`));
      const wider = await page.evaluate(() =>
        (globalThis as Window).document.documentElement.scrollWidth >
          (globalThis as Window).innerWidth
      );
      if (wider) violations.push(`${width} ${scheme} ${name}: wider than the screen`);
      if (pictures !== undefined) {
        await page.screenshot({ path: `${pictures}/${name}_${width}_${scheme}.png` });
      }
    }
  }
}

async function fill(page: Page, message: string, photo?: string): Promise<void> {
  await page.type('input[name="name"]', "Ada");
  await page.type('textarea[name="message"]', message);
  if (photo !== undefined) {
    const input = await page.$('input[name="photo"]');
    await (input as unknown as { uploadFile(path: string): Promise<void> }).uploadFile(photo);
  }
}

async function sign(page: Page, message: string, photo?: string): Promise<void> {
  await page.goto(origin);
  await fill(page, message, photo);
  await Promise.all([page.waitForNavigation(), page.click('button[type="submit"]')]);
}

/** Signs on a phone; whether the entry is on the screen then, and marked. */
async function signOnPhone(browser: Browser) {
  const page = await browser.newPage();
  await page.setViewport({ ...PHONE, isMobile: true, hasTouch: true });
  await page.emulateTimezone(ZONE);
  await page.goto(origin);
  const formIsBelow = await page.evaluate(() => {
    const { document } = globalThis as Window;
    const top = (query: string) => document.querySelector(query).getBoundingClientRect().top;
    return top(".sign") > top("#entries");
  });
  await sign(page, "From a phone");
  return await page.evaluate((below: boolean) => {
    const { document, innerHeight, getComputedStyle, Intl } = globalThis as Window;
    const card = document.querySelector(":target");
    const { top, bottom } = card.getBoundingClientRect();
    const time = card.querySelector("time");
    return {
      formIsBelow: below,
      message: card.querySelector(".message").textContent,
      onScreen: top >= 0 && bottom <= innerHeight,
      marked: getComputedStyle(card.querySelector("article")).outlineStyle === "solid",
      // As a visitor of that zone would write it.
      localTime: time.textContent === new Intl.DateTimeFormat(undefined, {
        dateStyle: "medium",
        timeStyle: "short",
      }).format(new Date(time.dateTime)),
      utc: time.title.endsWith("UTC") && time.title !== time.textContent,
    };
  }, formIsBelow);
}

/** How a wide screen shows it: photos in their own shapes, and room that is used. */
async function lookWide(browser: Browser) {
  const page = await browser.newPage();
  await page.setViewport({ width: WIDE, height: 1200 });
  await page.goto(origin);
  await page.waitForFunction(() =>
    [...(globalThis as Window).document.querySelectorAll(".photo img")].every((image: Window) =>
      image.complete
    )
  );
  if (pictures !== undefined) await page.screenshot({ path: `${pictures}/wide.png` });
  return await page.evaluate(() => {
    const { document } = globalThis as Window;
    const photos = [...document.querySelectorAll(".photo img")].map((image: Window) => {
      const { width, height } = image.getBoundingClientRect();
      return { shown: width / height, own: image.naturalWidth / image.naturalHeight };
    });
    const lefts = [...document.querySelectorAll(".card")].map((card: Window) =>
      Math.round(card.getBoundingClientRect().left)
    );
    return { photos, columns: new Set(lefts).size };
  });
}

const browser = await puppeteer.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu"],
});
try {
  const page = await browser.newPage();
  await page.goto(origin);
  await judge(page, "empty");
  await sign(page, "Upright", portrait);
  await sign(page, "Across", landscape);
  for (let each = 0; each < 8; each++) await sign(page, `Words alone, ${each}`);
  await page.goto(origin);
  await judge(page, "full");
  await page.setViewport(PHONE);
  await page.goto(origin);
  await page.evaluate(() => {
    (globalThis as Window).document.querySelector(".sign").noValidate = true;
  });
  await Promise.all([page.waitForNavigation(), page.click('button[type="submit"]')]);
  await judge(page, "refused");
  await page.goto(`${origin}/nowhere`);
  await judge(page, "not_found");
  const phone = await signOnPhone(browser);
  const wide = await lookWide(browser);
  // deno-lint-ignore no-console
  console.log(JSON.stringify({ violations, phone, wide }));
} finally {
  await browser.close();
}
Deno.exit(0);
