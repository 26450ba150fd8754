/** A contact form. The app has no network at all: a helper sends the mail, to one address. */
import { helper, HelperError } from "holdfast/helper";
import { Hono } from "hono";
import { html } from "hono/html";
import * as z from "zod";
import { mailContract } from "./helpers/mail_contract.ts";
import type mail from "./helpers/mail.ts";

const Form = z.object(mailContract.send.input.shape);

const app = new Hono();

app.get("/", (c) =>
  c.html(html`
    <!doctype html>
    <html lang="en">
      <title>Contact</title>
      <h1>Write to us</h1>
      <form method="post">
        <label>Your address <input name="from" type="email" required /></label>
        <label>Your message <textarea name="text" required maxlength="4000"></textarea></label>
        <button type="submit">Send</button>
      </form>
    </html>
  `));

app.post("/", async (c) => {
  const form = Form.safeParse(await c.req.parseBody());
  if (!form.success) return c.text(z.prettifyError(form.error), 422);
  try {
    await helper<typeof mail>("mail", mailContract).send(form.data);
  } catch (error) {
    if (!(error instanceof HelperError)) throw error;
    console.error(error.message);
    return c.text("The message cannot be sent right now", 503, { "Retry-After": "60" });
  }
  return c.text("Thank you");
});

export default app;
