/** What commands show, at 80 and at 120 columns: made of fixed data, and kept in tests/screens. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import type { HoldfastError } from "../lib/base/error.ts";
import { formatGrants } from "../lib/cli/grants_text.ts";
import { formatStatus } from "../lib/cli/status_text.ts";
import { formatTable, wrapText } from "../lib/cli/table.ts";
import { coloured, cutLine, plain, textWidth } from "../lib/cli/text.ts";
import { formatError } from "../lib/cli/terminal.ts";
import { formatTop } from "../lib/cli/top.ts";
import type { Config } from "../lib/config/config.ts";
import { resolveText } from "../lib/config/resolve.ts";
import { REPOSITORY } from "./harness/project.ts";
import { assertScreen } from "./harness/screen.ts";
import { BUSY_STATUS, statusWith } from "./harness/status.ts";

const WIDTHS = [80, 120];

const filtersOf = (pid: number) => pid === 202 ? 2 : undefined;

/** A quiet server, as it is most of the time. */
const QUIET = {
  ...statusWith({ worker: 1, pid: 4321, ageMs: 93_784_000, answered: 1_204_551, accepted: 88_100 }),
  ...{ config: "/srv/app/holdfast.jsonc", listeners: ["0.0.0.0:443"], https: ["0.0.0.0:443"] },
  ...{ pid: 4300, memoryBytes: 92 * 2 ** 20, descriptors: 31, ageMs: 93_800_000 },
};

/** The guestbook's config, where it would be on a server. */
async function guestbookConfig(): Promise<Config> {
  const file = join(REPOSITORY, "examples/guestbook/holdfast.jsonc");
  const config = await resolveText({
    ...{ text: await Deno.readTextFile(file), file, named: file, warn: () => {} },
    ...{ folder: dirname(file), runtime: join(dirname(file), ".holdfast") },
  });
  return JSON.parse(JSON.stringify(config).replaceAll(dirname(file), "/srv/guestbook"));
}

/** All that can be granted, more than a screen shows of one kind, and a path that is not there. */
function withEverything(config: Config): Config {
  const path = (name: string, rights: string, exists = true) => ({
    ...{ path: `/srv/guestbook/${name}`, rights, exists, folder: false },
  });
  return {
    ...config,
    workers: 4,
    listen: [
      {
        ...{ kind: "tcp", text: "0.0.0.0:443", host: "0.0.0.0", port: 443 },
        tls: [{ cert: "/etc/tls/cert.pem", key: "/etc/tls/key.pem" }],
      },
      { kind: "tcp", text: "0.0.0.0:80", host: "0.0.0.0", port: 80, redirect: true },
    ],
    unveil: [
      ...Array.from({ length: 10 }, (_, index) => path(`templates/${index}`, "r")),
      ...[path("config.json", "r", false), path("uploads", "rwc")],
    ],
    ...{ dropAfterOpen: ["/srv/guestbook/templates/0"], tmp: true, sys: ["hostname"] },
    net: ["db.example.com:5432", "unix:/run/postgresql/.s.PGSQL.5432"],
    env: ["DATABASE_URL", "SESSION_SECRET"],
    helpers: config.helpers.map((helper) => ({ ...helper, native: true })),
    metrics: { listen: { kind: "tcp", text: "127.0.0.1:9100", host: "127.0.0.1", port: 9100 } },
    traces: { collector: "127.0.0.1:4318", service: "guestbook" },
  };
}

for (const width of WIDTHS) {
  Deno.test(`explain answers in ${width} columns and one screen what the app may do`, async () => {
    const config = await guestbookConfig();
    const facts = {
      ...{ view: { width, paint: plain }, abi: 7 },
      accountOf: (who: string) => `uid of the ${who}`,
    };
    const text = formatGrants(config, facts);
    assertScreen("explain_guestbook", text, width);
    assert(text.split("\n").length <= 24, text);
    assertScreen("explain_everything", formatGrants(withEverything(config), facts), width);
    const shared = { ...facts, accountOf: () => "uid 33, gid 33" };
    assertStringIncludes(
      formatGrants(config, shared).replace("\n33", " 33"),
      "All as uid 33, gid 33.",
    );
    const deno = formatGrants({ ...config, wall: "deno" }, facts);
    assertStringIncludes(deno.replaceAll("\n", " "), "native code is not restricted");
    const old = formatGrants(config, { ...facts, abi: 2 });
    assertStringIncludes(old.replaceAll("\n", " "), "(Landlock ABI 2): a start is refused");
  });

  Deno.test(`status and top show in ${width} columns what is wrong first, then each process`, () => {
    const view = { width, paint: plain };
    assertScreen("status_quiet", formatStatus(QUIET, view, () => 2), width);
    assertScreen("status_busy", formatStatus(BUSY_STATUS, view, filtersOf), width);
    const failing = {
      ...BUSY_STATUS,
      ...{ state: "failing" as const, accepting: false, waiting: { "127.0.0.1:8000": 12 } },
      logger: {
        ...{ folder: "/srv/app/log", dropped: 3, replacements: 1, process: null },
        trouble: "/srv/app/log/holdfast.log: No space left on device (os error 28)",
      },
      upgradeRefused: "Deno 2.9.5 is too old",
      reload: "running" as const,
    };
    assertScreen("status_failing", formatStatus(failing, view, filtersOf), width);
    const top = formatTop({ status: failing, atMs: 2000 }, undefined, view, filtersOf);
    assertScreen("top_failing", top, width);
    assert(formatStatus(failing, view).startsWith("FAILING: "));
  });
}

/** What a start and a reload are refused by, as it was seen. */
const FAILURES: Readonly<
  Record<string, Pick<HoldfastError, "kind" | "message" | "hint" | "cause">>
> = {
  start_failed_import: {
    kind: "config",
    message: 'Cannot load the app\'s modules: Module not found "file:///srv/app/views.ts".\n' +
      "    at file:///srv/app/main.ts:1:24",
    hint: "There is no such file: mend the import, or add the file",
    cause: undefined,
  },
  start_failed_config: {
    kind: "config",
    message:
      '/srv/app/holdfast.jsonc:1:76: unveil["./publik"]: rights "rq"; write any of r (read), w (write), ' +
      "c (create and remove), each at most once",
    hint: undefined,
    cause: undefined,
  },
  reload_refused: {
    kind: "refused",
    message:
      "The new version was refused, generation 4 keeps serving: Worker 9 ended before it said ready: " +
      "TypeError: no such table: entries (at file:///srv/app/views.ts:1:7) (exited with status 1)",
    hint: "The app threw it while its module was loaded, or in its open(): mend it at that place",
    cause: undefined,
  },
};

for (const width of WIDTHS) {
  Deno.test(`a failed start and a refused reload are told in ${width} columns`, () => {
    for (const [name, failure] of Object.entries(FAILURES)) {
      assertScreen(name, formatError(failure, width), width);
      // A program that reads it finds each message on its line.
      const [first] = formatError(failure, Infinity).split("\n");
      assertEquals(first, `holdfast: ${failure.message.split("\n")[0]}`);
    }
  });
}

Deno.test("all that is known of each process is shown where there is room, or it is asked for", () => {
  const text = formatStatus(BUSY_STATUS, { width: Infinity, paint: plain }, filtersOf);
  const rows = text.split("\n\n")[1]!.split("\n");
  const table = rows.map((row) => row.trim().split(/ {2,}/));
  assertEquals(
    table[0]!.join(),
    "ROLE,STATE,GEN,PID,AGE,IN FLIGHT,ANSWERED,MEMORY,CONNECTIONS," +
      "RESTARTS,DENIED,UID,WALL,FILTERS,ENGINE,ACCEPTED,FDS",
  );
  assertEquals(table.slice(1).map((row) => row.join()), [
    "supervisor,101,3m 4s,80 MiB,40",
    "worker,draining,1,202,3m 3s,33,34,53 MiB,32,0,35,kernel,2,native,31,36",
    "worker.0,DOWN,2,4s,0,deno",
    "worker.1,DOWN,2,4s,1,deno",
    "helper thumbnails.1,serving,2,303,3s,43,44,90 MiB,42,2,45,2013265999,deno,41",
    "helper notify.0,DOWN,2,4s,0,deno",
  ]);
  const [head, ...others] = rows;
  const end = head!.indexOf("ANSWERED") + "ANSWERED".length;
  assertEquals(
    others.filter((row) => /\d/.test(row[end] ?? "")),
    [],
    "numbers end below their heads",
  );
});

Deno.test("what is wrong is coloured on a terminal, and takes no more room for it", () => {
  const text = formatStatus(BUSY_STATUS, { width: 80, paint: coloured });
  assertStringIncludes(text, "\x1b[31;1m");
  assertEquals(text.split("\n").filter((line) => textWidth(line) > 80), []);
  assertEquals(
    // deno-lint-ignore no-control-regex
    text.replaceAll(/\x1b\[[\d;]+m/g, ""),
    formatStatus(BUSY_STATUS, { width: 80, paint: plain }),
  );
});

Deno.test("what a process says of its trouble moves nothing on a terminal", () => {
  const hostile = "\x1b[2J\x1b]0;title\x07\u202e\r gone";
  const text = formatStatus({
    ...BUSY_STATUS,
    logger: { folder: "/l", dropped: 0, replacements: 0, process: null, trouble: hostile },
    upgradeRefused: hostile,
    lastReload: { ...BUSY_STATUS.lastReload!, reason: `one\n${hostile}` },
  }, { width: 80, paint: plain });
  // deno-lint-ignore no-control-regex
  assertEquals(text.match(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/g), null);
  assertStringIncludes(text, "\\x1b[2J");
});

Deno.test("a table that has no room leaves columns out by their rank, then breaks the widest cells", () => {
  const head = ["NAME", { head: "SIZE", align: "right" as const }, { head: "MORE", rank: 1 }, {
    head: "LESS",
    rank: 2,
  }, "WHAT"];
  const rows = [["a", 1, "m", "l", "one two three four five six"], ["b", 1000, "m", "l", "x\ny"]];
  const widthOf = (text: string) => Math.max(...text.split("\n").map(textWidth));
  const all = formatTable(head, rows);
  for (const width of [200, 50, 45, 40, 35, 30, 26]) {
    const table = formatTable(head, rows, width);
    assert(widthOf(table) <= width, table);
    assertEquals(table.includes("LESS"), width >= widthOf(all), table);
    for (const word of ["NAME", "1000", "six"]) assertStringIncludes(table, word);
  }
  assertEquals(formatTable(["漢字", "B"], [["a", "b"]]), "漢字  B\na     b");
  assertEquals(formatTable(["A", "B"], []), "A  B");
  assertEquals(wrapText("one two three", 8, "  "), "one\n  two\n  three");
  assertEquals([cutLine("\x1b[31mred blue\x1b[0m", 3), cutLine("red", 3)], [
    "\x1b[31mred\x1b[0m",
    "red",
  ]);
});
