/**
 * Sends a message to us, and to nobody else. Only this process may connect to the mail server, and only
 * it sees the password: who takes over the app can send us mail, and no more.
 */
import { defineHelper } from "holdfast/helper";
import nodemailer from "nodemailer";
import { mailContract } from "./mail_contract.ts";

export default defineHelper({
  send: {
    ...mailContract.send,
    // Nobody wants the same mail twice.
    retry: "never",
    async handle({ from, text }) {
      const [url, to] = ["SMTP_URL", "MAIL_TO"].map((name) => Deno.env.get(name));
      const transport = nodemailer.createTransport(url);
      try {
        await transport.sendMail({ from: to, replyTo: from, to, subject: "Contact form", text });
      } finally {
        transport.close();
      }
      return { sent: true as const };
    },
  },
});
