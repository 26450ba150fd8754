/**
 * Loads a guestbook until its standard input ends, and prints how every request ended, as JSON. A
 * program of its own, so that it can run in the network namespace of the server.
 *
 *     deno run --allow-net tests/harness/page_load.ts PORT
 */
import { Wire, type WireAnswer } from "./http.ts";
import { sleep } from "./wait.ts";

/** The whole account. */
export interface PageAccount {
  readonly sent: number;
  readonly ok: number;
  /** The first few that were not answered whole and right. */
  readonly lost: readonly string[];
}

const CLIENTS = 3;
const MAX_LOST = 10;

/** What a client does over and over. */
type Errand = (port: number) => AsyncGenerator<void, void>;

function requireAnswer({ status, text }: WireAnswer, wanted: number, end: string): void {
  if (status !== wanted || !text.endsWith(end)) throw new Error(`${status} ${text.slice(-200)}`);
}

const HEADERS = { host: "127.0.0.1" };

/** One request a connection. */
async function* visit(port: number) {
  using wire = await Wire.open(port);
  requireAnswer(await wire.ask("/", { headers: HEADERS }), 200, "</html>");
  yield;
}

/** Many requests a connection, until the server says that it closes it. */
async function* stay(port: number) {
  using wire = await Wire.open(port);
  while (true) {
    const answer = await wire.ask("/", { headers: HEADERS });
    requireAnswer(answer, 200, "</html>");
    yield;
    if (answer.persistence === "close") return;
    await sleep(20);
  }
}

/** Signs the book, slower than a reload. */
async function* sign(port: number) {
  using wire = await Wire.open(port);
  const body = "name=Load&message=Hello+from+the+load";
  const type = "application/x-www-form-urlencoded";
  const fields = [
    `Host: 127.0.0.1:${port}`,
    `Origin: http://127.0.0.1:${port}`,
    `Content-Type: ${type}`,
    `Content-Length: ${body.length}`,
    "Connection: close",
  ];
  await wire.write(`POST /entries HTTP/1.1\r\n${fields.join("\r\n")}\r\n\r\n`);
  for (const piece of [body.slice(0, 10), body.slice(10, 20), body.slice(20)]) {
    await sleep(400);
    await wire.write(piece);
  }
  requireAnswer(await wire.answer("POST"), 303, "");
  yield;
}

if (import.meta.main) {
  const port = Number(Deno.args[0]);
  let sent = 0;
  let ok = 0;
  let over = false;
  const lost: string[] = [];
  const run = async (name: string, errand: Errand) => {
    while (!over) {
      const requests = errand(port);
      try {
        while (!over) {
          sent++;
          if ((await requests.next()).done) {
            sent--;
            break;
          }
          ok++;
        }
        await requests.return();
      } catch (error) {
        if (lost.length < MAX_LOST) lost.push(`${name}: ${(error as Error).message}`);
      }
    }
  };
  const errands = Object.entries({ visit, stay, sign });
  const clients = errands.flatMap(([name, errand]) =>
    Array.from({ length: CLIENTS }, () => run(name, errand))
  );
  await Deno.stdin.readable.pipeTo(new WritableStream());
  over = true;
  await Promise.all(clients);
  const account: PageAccount = { sent, ok, lost };
  // deno-lint-ignore no-console
  console.log(JSON.stringify(account));
}
