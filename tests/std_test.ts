import {
  assert,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
  fail,
} from "@std/assert";
import { parseArgs } from "@std/cli";
import { getLogger, type LevelName, type LogRecord, setup } from "@std/log";
import { AssertionError } from "node:assert";

Deno.test("parseArgs gives the words that are no options in order, all as text", () => {
  const { _: words } = parseArgs(["start", "8000", "--json", "0x10", "--", "--json"], {
    boolean: ["json"],
  });
  assertEquals(words, ["start", "8000", "0x10", "--json"]);
});

Deno.test("parseArgs gives a string option as text, however it is attached", () => {
  for (const args of [["--config", "7"], ["--config=7"]]) {
    assertEquals(parseArgs(args, { string: ["config"] }).config, "7");
  }
  assertEquals(parseArgs(["--config"], { string: ["config"] }).config, "");
  assertEquals(parseArgs(["--config", "a=b"], { string: ["config"] }).config, "a=b");
});

Deno.test("parseArgs gives a list for a string option that comes twice", () => {
  assertEquals(parseArgs(["--c", "1", "--c", "2"], { string: ["c"] }).c, ["1", "2"]);
});

Deno.test("parseArgs gives a boolean for a boolean option, and lets it take no word away", () => {
  const options = { boolean: ["json"] };
  assertEquals(parseArgs([], options).json, false);
  const given = parseArgs(["--json", "status"], options);
  assertEquals([given.json, given._], [true, ["status"]]);
});

Deno.test("parseArgs takes a default only where nothing was given", () => {
  const options = { string: ["config"], default: { config: "holdfast.jsonc" } };
  assertEquals(parseArgs([], options).config, "holdfast.jsonc");
  assertEquals(parseArgs(["--config", "other"], options).config, "other");
});

Deno.test("parseArgs knows an option by its alias", () => {
  const options = { boolean: ["help", "version"], alias: { h: "help", V: "version" } };
  assertEquals(parseArgs(["-h"], options).help, true);
  const both = parseArgs(["-hV"], options);
  assertEquals([both.help, both.version], [true, true]);
});

Deno.test("parseArgs asks about every argument that it does not know, with the option's name", () => {
  const asked: [string, string | undefined][] = [];
  const parsed = parseArgs(["start", "--json", "--color=red", "--other", "-x"], {
    boolean: ["json"],
    unknown: (argument, option) => {
      asked.push([argument, option]);
      return option === undefined;
    },
  });
  assertEquals(asked, [
    ["start", undefined],
    ["--color=red", "color"],
    ["--other", "other"],
    ["-x", "x"],
  ]);
  assertEquals([parsed._, parsed.color, parsed.other, parsed.x], [
    ["start"],
    undefined,
    undefined,
    undefined,
  ]);
});

Deno.test("parseArgs sets no property of every object", () => {
  parseArgs(["--__proto__.polluted=1", "--constructor.prototype.polluted=1"]);
  assertEquals(({} as Record<string, unknown>).polluted, undefined);
});

const LEVELS: ["debug" | "info" | "warn" | "error" | "critical", LevelName][] = [
  ["debug", "DEBUG"],
  ["info", "INFO"],
  ["warn", "WARN"],
  ["error", "ERROR"],
  ["critical", "CRITICAL"],
];

function collect(level: LevelName): LogRecord[] {
  const records: LogRecord[] = [];
  setup({ level, handler: { handle: (record) => records.push(record) } });
  return records;
}

Deno.test("a log record has its level's name, its event, its fields, its time and its logger", () => {
  const records = collect("DEBUG");
  const before = Date.now();
  const log = getLogger();
  for (const [method] of LEVELS) log[method](`${method}_happened`, { method, count: 1 });
  log.info("bare");
  assertEquals(
    records.map(({ levelName, msg, args, loggerName }) => [levelName, msg, args, loggerName]),
    [
      ...LEVELS.map(([method, name]) => [
        name,
        `${method}_happened`,
        [{ method, count: 1 }],
        "default",
      ]),
      ["INFO", "bare", [{}], "default"],
    ],
  );
  for (const { datetime } of records) {
    assert(datetime.getTime() >= before && datetime.getTime() <= Date.now());
  }
});

Deno.test("what is below the level is not logged, and a later setup replaces the one before", () => {
  for (const [index, [, level]] of LEVELS.entries()) {
    const records = collect(level);
    for (const [method] of LEVELS) getLogger()[method]("event");
    assertEquals(
      records.map(({ levelName }) => levelName),
      LEVELS.slice(index).map(([, name]) => name),
    );
  }
});

Deno.test("braces in an event are text and pull in no field", () => {
  const records = collect("INFO");
  getLogger().info("{secret} {{x}}", { secret: "s3cret" });
  assertEquals([records[0]!.msg, records[0]!.args], ["{secret} {{x}}", [{ secret: "s3cret" }]]);
});

class Special extends Error {}

/** Each assertion with what must hold for it and what must not. */
const ASSERTIONS: Record<string, { passes: (() => unknown)[]; fails: (() => unknown)[] }> = {
  assert: {
    passes: [() => assert(true), () => assert("x"), () => assert({})],
    fails: [() => assert(false), () => assert(0), () => assert(""), () => assert(undefined)],
  },
  assertEquals: {
    passes: [
      () => assertEquals({ a: [1, { b: 2 }] }, { a: [1, { b: 2 }] }),
      () => assertEquals(NaN, NaN),
      () => assertEquals(new Map([[1, new Set([2])]]), new Map([[1, new Set([2])]])),
    ],
    fails: [
      () => assertEquals<unknown>(1, "1"),
      () => assertEquals<unknown>(null, undefined),
      () => assertEquals<unknown>({ a: 1 }, { a: 1, b: undefined }),
      () => assertEquals([1, 2], [2, 1]),
      () => assertEquals<unknown>(new Error("a"), new Error("b")),
      () => assertEquals<unknown>([], {}),
    ],
  },
  assertNotEquals: {
    passes: [() => assertNotEquals([1], [2]), () => assertNotEquals<unknown>(1, "1")],
    fails: [() => assertNotEquals([1], [1]), () => assertNotEquals({ a: 1 }, { a: 1 })],
  },
  assertMatch: {
    passes: [() => assertMatch("generation 12", /^generation \d+$/)],
    fails: [() => assertMatch("generation x", /^generation \d+$/)],
  },
  assertStringIncludes: {
    passes: [() => assertStringIncludes("holdfast", "fast"), () => assertStringIncludes("x", "")],
    fails: [() => assertStringIncludes("holdfast", "slow"), () => assertStringIncludes("", "x")],
  },
  assertThrows: {
    passes: [
      () => assertThrows(() => thrower(new Special("bad luck")), Special, "luck"),
      () => assertThrows(() => thrower(new Special("bad luck")), Error),
    ],
    fails: [
      () => assertThrows(() => {}, Error),
      () => assertThrows(() => thrower(new Error("bad luck")), Special),
      () => assertThrows(() => thrower(new Special("bad luck")), Special, "good"),
      () => assertThrows(() => thrower("no error"), Error),
    ],
  },
  fail: { passes: [], fails: [() => fail(), () => fail("with words")] },
};

function thrower(error: unknown): never {
  throw error;
}

/** What `run` throws, without the functions that are under test. */
function caught(run: () => unknown): unknown {
  try {
    run();
  } catch (error) {
    return error ?? "nothing";
  }
  return undefined;
}

for (const [name, { passes, fails }] of Object.entries(ASSERTIONS)) {
  Deno.test(`${name} passes when it holds and throws when it does not`, () => {
    for (const run of passes) {
      const error = caught(run);
      if (error !== undefined) throw new Error(`${run} threw ${error}`);
    }
    for (const run of fails) {
      if (!(caught(run) instanceof Error)) throw new Error(`${run} did not throw`);
    }
  });
}

Deno.test("assertRejects passes when the promise rejects with that error, and throws otherwise", async () => {
  const passes = [
    () => assertRejects(() => Promise.reject(new Special("bad luck")), Special, "luck"),
    async () => {
      const error = await assertRejects(() => Promise.reject(new Special("it")), Special);
      if (error.message !== "it") throw new Error("It gave another error");
    },
  ];
  const fails = [
    () => assertRejects(() => Promise.resolve(), Error),
    () => assertRejects(() => Promise.reject(new Error("bad luck")), Special),
    () => assertRejects(() => Promise.reject(new Special("bad luck")), Special, "good"),
  ];
  for (const run of passes) await run();
  for (const run of fails) {
    const failed = await run().then(() => false, (error) => error instanceof Error);
    if (!failed) throw new Error(`${run} did not reject`);
  }
});

Deno.test("assertThrows gives the error that was thrown", () => {
  const error = new Special("bad luck");
  if (assertThrows(() => thrower(error), Special) !== error) throw new Error("It gave another");
});

Deno.test("a failed assertion says its own message, or shows both sides", () => {
  const own = caught(() => assertEquals(1, 2, "the count of workers")) as Error;
  const shown = caught(() => assertStringIncludes("holdfast", "slow")) as Error;
  if (!(own instanceof AssertionError) || !own.message.includes("the count of workers")) throw own;
  for (const word of ['"holdfast"', '"slow"']) if (!shown.message.includes(word)) throw shown;
});
