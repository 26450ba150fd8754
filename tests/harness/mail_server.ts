/** A mail server that keeps what it is sent: as much of SMTP as a client needs. */

/** Takes mail on a port of loopback, until it is closed. */
export class MailServer implements AsyncDisposable {
  readonly port: number;
  /** What was sent: who to, and the text with its head. */
  readonly mails: { readonly to: string[]; readonly text: string }[] = [];
  readonly #listener: Deno.TcpListener;
  readonly #serving: Promise<void>;

  constructor(port: number) {
    this.#listener = Deno.listen({ hostname: "127.0.0.1", port });
    this.port = port;
    this.#serving = this.#serve();
  }

  async #serve(): Promise<void> {
    const talks: Promise<void>[] = [];
    for await (const connection of this.#listener) talks.push(this.#talk(connection));
    await Promise.all(talks);
  }

  async #talk(connection: Deno.TcpConn): Promise<void> {
    const say = (line: string) => connection.write(new TextEncoder().encode(`${line}\r\n`));
    let to: string[] = [];
    let text: string[] | undefined;
    let held = "";
    await say("220 test");
    try {
      for await (const chunk of connection.readable.pipeThrough(new TextDecoderStream())) {
        const lines = (held + chunk).split("\r\n");
        held = lines.pop()!;
        for (const line of lines) {
          if (text !== undefined) {
            if (line !== ".") text.push(line);
            else {
              this.mails.push({ to, text: text.join("\n") });
              [to, text] = [[], undefined];
              await say("250 kept");
            }
          } else if (/^DATA/i.test(line)) {
            text = [];
            await say("354 go on");
          } else if (/^QUIT/i.test(line)) {
            await say("221 bye");
            return;
          } else {
            const [, address] = /^RCPT TO:<([^>]*)>/i.exec(line) ?? [];
            if (address !== undefined) to.push(address);
            await say("250 ok");
          }
        }
      }
    } catch {
      // Whoever goes away has no more to say.
    } finally {
      try {
        connection.close();
      } catch {
        // Its readable closed it.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#serving;
  }
}
