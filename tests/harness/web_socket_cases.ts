/**
 * Cases of WebSocket conformance, by the numbers that Autobahn's list has: what a client sends, and what
 * an echoing server has to do. The frames are written here, since that list runs on Python 2 alone.
 */
import { concat } from "./http.ts";
import { closing, deflated, frame, OPCODE, told } from "./web_socket_wire.ts";

export interface Case {
  readonly id: string;
  readonly what: string;
  /** Written one by one; `chop` bytes at a time. */
  readonly send: readonly Uint8Array[];
  readonly chop?: number;
  /** Whether it sends a close of its own; else one with 1000 ends it. */
  readonly closes?: true;
  /** What comes back before the end. */
  readonly events: readonly string[];
  /** The codes with which the server may close; one that fails a connection may also just drop it. */
  readonly codes: readonly number[];
  readonly fails?: true;
  /** What the server shows if it notices only at the end of a message. */
  readonly late?: readonly string[];
  /** What comes after a close resets the connection, which may cut what was on its way before. */
  readonly resets?: true;
  /** What is offered at the handshake; a server that does not take it is not asked. */
  readonly offers?: string;
}

const { more, text, binary, close, ping, pong } = OPCODE;
const bytes = (hex: string) => Uint8Array.fromHex(hex.replaceAll(" ", ""));
/** Greek, with one letter of three bytes. */
const GREEK = bytes("cebae1bdb9cf83cebcceb5");
const utf8 = (data: string) => new TextEncoder().encode(data);

const echoes = (
  id: string,
  what: string,
  send: readonly Uint8Array[],
  events: readonly string[],
  chop?: number,
): Case => ({ id, what, send, events, codes: [1000], ...chop !== undefined && { chop } });

const fails = (
  id: string,
  what: string,
  send: readonly Uint8Array[],
  options: Partial<Case> = {},
): Case => ({ id, what, send, events: [], codes: [1002], fails: true, ...options });

/** A message in so many pieces as there are. */
function fragments(opcode: number, pieces: readonly (string | Uint8Array)[]): Uint8Array[] {
  return pieces.map((piece, index) =>
    frame(index === 0 ? opcode : more, piece, index < pieces.length - 1 ? { more: true } : {})
  );
}

function* framing(): Generator<Case> {
  for (const [part, opcode, kind] of [["1.1", text, "text"], ["1.2", binary, "binary"]] as const) {
    const sizes = [0, 125, 126, 127, 128, 65_535, 65_536, 65_536];
    for (const [index, size] of sizes.entries()) {
      const data = "*".repeat(size);
      const chop = index === 7 ? 997 : undefined;
      const what = `${kind} of ${size} bytes${chop ? `, ${chop} at a time` : ""}`;
      yield echoes(`${part}.${index + 1}`, what, [frame(opcode, data)], [told(kind, data)], chop);
    }
  }
}

function* pings(): Generator<Case> {
  const odd = bytes("00 ff fe fd fc fb 00 ff");
  const long = new Uint8Array(125).fill(0xfe);
  yield echoes("2.1", "a ping without payload", [frame(ping)], ["pong"]);
  yield echoes("2.2", "a ping with text", [frame(ping, "hello")], ["pong hello"]);
  yield echoes("2.3", "a ping with binary data", [frame(ping, odd)], [told("pong", odd)]);
  yield echoes("2.4", "a ping of 125 bytes", [frame(ping, long)], [told("pong", long)]);
  yield fails("2.5", "a ping of 126 bytes", [frame(ping, new Uint8Array(126).fill(0xfe))]);
  yield echoes("2.6", "a ping, byte by byte", [frame(ping, long)], [told("pong", long)], 1);
  yield echoes("2.7", "a pong that nobody asked for", [frame(pong)], []);
  yield echoes("2.8", "such a pong with payload", [frame(pong, "x")], []);
  yield echoes("2.9", "a pong, then a ping", [frame(pong, "x"), frame(ping, "y")], ["pong y"]);
  const ten = Array.from({ length: 10 }, (_, index) => `payload-${index}`);
  const answers = ten.map((each) => `pong ${each}`);
  yield echoes("2.10", "ten pings", ten.map((each) => frame(ping, each)), answers);
  yield echoes("2.11", "ten pings, byte by byte", ten.map((each) => frame(ping, each)), answers, 1);
}

function* reserved(): Generator<Case> {
  const good = frame(text, "hello");
  const bad = (bits: number, opcode: number = text) => frame(opcode, "hello", { reserved: bits });
  const events = ["text hello"];
  yield fails("3.1", "RSV 1", [bad(1)]);
  yield fails("3.2", "text, then RSV 2, then a ping", [good, bad(2), frame(ping)], { events });
  yield fails("3.3", "text, then RSV 3", [good, bad(3), frame(ping)], { events });
  yield fails("3.4", "RSV 4, byte by byte", [good, bad(4), frame(ping)], { events, chop: 1 });
  yield fails("3.5", "RSV 5, binary", [bad(5, binary)]);
  yield fails("3.6", "RSV 6 in a ping", [bad(6, ping)]);
  yield fails("3.7", "RSV 7 in a close", [frame(close, closing(1000), { reserved: 7 })], {
    closes: true,
  });
}

function* opcodes(): Generator<Case> {
  for (const [part, first] of [["4.1", 3], ["4.2", 11]] as const) {
    for (let index = 0; index < 5; index++) {
      const unknown = frame(first + index, index % 2 === 0 ? "" : "payload");
      const after = index >= 2;
      const send = after ? [frame(text, "hello"), unknown, frame(ping)] : [unknown];
      yield fails(
        `${part}.${index + 1}`,
        `opcode ${first + index}${after ? " after a text" : ""}`,
        send,
        after ? { events: ["text hello"], ...index === 4 && { chop: 1 } } : {},
      );
    }
  }
}

function* fragmentation(): Generator<Case> {
  const two = ["fragment1", "fragment2"];
  const both = ["text fragment1fragment2"];
  const chops = [["one piece", undefined], ["frame by frame", undefined], [
    "byte by byte",
    1,
  ]] as const;
  /** All in one write, each frame in one, and each byte. */
  const joined = (send: Uint8Array[], how: number) => how === 0 ? [concat(send)] : send;
  yield fails("5.1", "a ping in two fragments", fragments(ping, two));
  yield fails("5.2", "a pong in two fragments", fragments(pong, two));
  for (const [how, [name, chop]] of chops.entries()) {
    const plain = joined(fragments(text, two), how);
    yield echoes(`5.${3 + how}`, `text in two fragments, ${name}`, plain, both, chop);
    const [one, other] = fragments(text, two);
    const between = joined([one!, frame(ping, "between"), other!], how);
    const events = ["pong between", ...both];
    yield echoes(`5.${6 + how}`, `a ping between fragments, ${name}`, between, events, chop);
    const last = joined([frame(more, "nothing"), frame(text, "hello")], how);
    yield fails(`5.${9 + how}`, `the end of nothing, then text, ${name}`, last, {
      chop: chop ?? Infinity,
    });
    const middle = joined([frame(more, "nothing", { more: true }), frame(text, "hello")], how);
    yield fails(`5.${12 + how}`, `the middle of nothing, then text, ${name}`, middle, {
      chop: chop ?? Infinity,
    });
  }
  const middle = frame(more, "nothing", { more: true });
  const whole = fragments(text, two);
  yield fails(
    "5.15",
    "a message, then the middle of nothing",
    [...whole, middle, frame(text, "x")],
    {
      events: both,
    },
  );
  yield fails("5.16", "the middle of nothing, then a message", [middle, ...whole]);
  yield fails("5.17", "the end of nothing, then a message", [frame(more, "nothing"), ...whole]);
  yield fails("5.18", "a second text before the end of the first", [whole[0]!, frame(text, "x")]);
  const five = fragments(text, ["1", "2", "3", "4", "5"]);
  const spaced = [
    five[0]!,
    five[1]!,
    frame(ping, "a"),
    five[2]!,
    five[3]!,
    frame(ping, "b"),
    five[4]!,
  ];
  const events = ["pong a", "pong b", "text 12345"];
  yield echoes("5.19", "two pings between five fragments", [concat(spaced)], events);
  yield echoes("5.20", "the same, frame by frame", spaced, events);
}

/** Bytes that are no UTF-8, after the groups of Markus Kuhn's stress test. */
const BAD_UTF8: Record<string, readonly string[]> = {
  "6.8": ["f888808080", "fc8480808080"],
  "6.10": ["f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"],
  "6.12": [
    "80",
    "bf",
    "80bf",
    "80bf80",
    "80bf80bf",
    "80bf80bf80",
    "80bf80bf80bf",
    range(0x80, 0xbf),
  ],
  "6.13": [[0xc0, 0xdf], [0xe0, 0xef], [0xf0, 0xf7], [0xf8, 0xfb], [0xfc, 0xfd]].map(([from, to]) =>
    range(from!, to!, "20")
  ),
  "6.14": [
    ...["c0", "e080", "f08080", "f8808080", "fc80808080"],
    ...["df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"],
  ],
  "6.15": ["c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf"],
  "6.16": ["fe", "ff", "fefeffff"],
  "6.17": ["c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"],
  "6.18": ["c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"],
  "6.19": ["c080", "e08080", "f0808080", "f880808080", "fc8080808080"],
  "6.20": ["eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"],
  "6.21": ["eda080", "edadbf", "edae80", "edafbf"].flatMap((
    high,
  ) => [`${high}edb080`, `${high}edbfbf`]),
};

/** Bytes that are UTF-8, up to the last code point and those that stand for no character. */
const GOOD_UTF8: Record<string, readonly string[]> = {
  "6.5": ["24", "c2a2", "e282ac", "f0a4ada2"].map((each) => `68656c6c6f${each}776f726c64`),
  "6.7": ["00", "c280", "e0a080", "f0908080"],
  "6.9": ["7f", "dfbf", "efbfbf", "f48fbfbf"],
  "6.11": ["ed9fbf", "ee8080", "efbfbd", "f48fbfbf"],
  "6.22": [
    "efbfbe",
    "f09fbfbe",
    "f0afbfbf",
    "f0bfbfbe",
    "f18fbfbf",
    "f39fbfbe",
    "f3bfbfbf",
    "f48fbfbe",
  ],
  "6.23": ["efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd"],
};

function range(from: number, to: number, after = ""): string {
  return Array.from({ length: to - from }, (_, index) => (from + index).toString(16) + after).join(
    "",
  );
}

function* unicode(): Generator<Case> {
  const invalid = concat([GREEK, bytes("eda080"), utf8("edited")]);
  const codes = [1007];
  yield echoes("6.1.1", "no text", [frame(text)], ["text"]);
  yield echoes("6.1.2", "three empty fragments", fragments(text, ["", "", ""]), ["text"]);
  yield echoes("6.1.3", "text between empty ones", fragments(text, ["", "middle", ""]), [
    "text middle",
  ]);
  const long = utf8("Hello-µ@ßöäüàá-UTF-8!!");
  const whole = [told("text", long)];
  const bytewise = (data: Uint8Array) => Array.from(data, (byte) => Uint8Array.of(byte));
  yield echoes("6.2.1", "umlauts", [frame(text, long)], whole);
  yield echoes("6.2.2", "in two", fragments(text, [long.slice(0, 8), long.slice(8)]), whole);
  yield echoes("6.2.3", "a fragment a byte", fragments(text, bytewise(long)), whole);
  yield echoes("6.2.4", "Greek, a fragment a byte", fragments(text, bytewise(GREEK)), [
    told("text", GREEK),
  ]);
  yield fails("6.3.1", "a surrogate in the middle", [frame(text, invalid)], { codes });
  yield fails("6.3.2", "the same, a fragment a byte", fragments(text, bytewise(invalid)), {
    codes,
  });
  // Whoever notices at once does not answer the ping.
  const begun = [frame(text, invalid.slice(0, 14), { more: true }), frame(ping, "still?")];
  const late = ["pong still?"];
  const rest = frame(more, invalid.slice(14));
  yield fails("6.4.1", "noticed at once, a surrogate", [...begun, rest], { codes, late });
  const beyond = [frame(text, bytes("f490"), { more: true }), frame(ping, "still?")];
  yield fails("6.4.2", "noticed at once, too high", [...beyond, frame(more, bytes("8080"))], {
    codes,
    late,
  });
  yield fails("6.4.3", "the same as 6.4.1, byte by byte", [...begun, rest], {
    codes,
    late,
    chop: 1,
  });
  yield fails("6.4.4", "the same as 6.4.2, byte by byte", [...beyond, frame(more, bytes("8080"))], {
    ...{ codes, late, chop: 1 },
  });
  const ends = [2, 5, 7, 9, 11];
  for (let count = 1; count <= GREEK.length; count++) {
    const part = GREEK.slice(0, count);
    const id = `6.6.${count}`;
    if (ends.includes(count)) {
      yield echoes(id, `${count} bytes of Greek`, [frame(text, part)], [told("text", part)]);
    } else yield fails(id, `${count} bytes of Greek`, [frame(text, part)], { codes });
  }
  for (const [part, all] of Object.entries(BAD_UTF8)) {
    for (const [index, hex] of all.entries()) {
      const id = `${part}.${index + 1}`;
      yield fails(id, `not UTF-8: ${hex.slice(0, 24)}`, [frame(text, bytes(hex))], { codes });
    }
  }
  for (const [part, all] of Object.entries(GOOD_UTF8)) {
    for (const [index, hex] of all.entries()) {
      const data = bytes(hex);
      yield echoes(`${part}.${index + 1}`, `UTF-8: ${hex}`, [frame(text, data)], [
        told("text", data),
      ]);
    }
  }
}

function* closes(): Generator<Case> {
  const bye = frame(close, closing(1000));
  const closed = (
    id: string,
    what: string,
    send: readonly Uint8Array[],
    events: readonly string[] = [],
    codes: readonly number[] = [1000],
  ): Case => ({ id, what, send, events, codes, closes: true });
  yield closed("7.1.1", "text, then a close", [frame(text, "hello"), bye], ["text hello"]);
  yield closed("7.1.2", "two closes", [bye, bye]);
  yield closed("7.1.3", "a ping after a close", [bye, frame(ping)]);
  yield closed("7.1.4", "text after a close", [bye, frame(text, "hello")]);
  const [first, second] = fragments(text, ["one", "two"]);
  yield closed("7.1.5", "a close between fragments", [first!, bye, second!]);
  const large = "BAsd7&jh23".repeat(26_214);
  yield {
    ...closed("7.1.6", "256 KiB, a close, a ping", [frame(text, large), bye, frame(ping)], [
      told("text", large),
    ]),
    resets: true,
  };
  // An empty close may be answered by an empty one, which has the code 0 here.
  yield closed("7.3.1", "a close without payload", [frame(close)], [], [0, 1000]);
  yield fails("7.3.2", "a close of one byte", [frame(close, "a")], { closes: true });
  yield closed("7.3.3", "a close with a code", [bye]);
  yield closed("7.3.4", "a close with a reason", [frame(close, closing(1000, "Hello World!"))]);
  yield closed("7.3.5", "a reason of 123 bytes", [frame(close, closing(1000, "*".repeat(123)))]);
  yield fails("7.3.6", "a reason of 124 bytes", [frame(close, closing(1000, "*".repeat(124)))], {
    closes: true,
  });
  const reason = concat([GREEK, bytes("eda080")]);
  yield fails("7.5.1", "a reason that is no UTF-8", [frame(close, closing(1000, reason))], {
    ...{ closes: true, codes: [1002, 1007] },
  });
  const valid = [
    ...[1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014],
    ...[3000, 3999, 4000, 4999],
  ];
  for (const [index, code] of valid.entries()) {
    const send = [frame(close, closing(code))];
    yield closed(`7.7.${index + 1}`, `a close with ${code}`, send, [], [1000, code]);
  }
  const invalid = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999];
  for (const [index, code] of invalid.entries()) {
    yield fails(`7.9.${index + 1}`, `a close with ${code}`, [frame(close, closing(code))], {
      closes: true,
    });
  }
}

function* sizes(): Generator<Case> {
  for (const [part, opcode, kind] of [["9.1", text, "text"], ["9.2", binary, "binary"]] as const) {
    for (const [index, size] of [65_536, 262_144, 1_048_576].entries()) {
      const data = "*".repeat(size);
      yield echoes(`${part}.${index + 1}`, `${kind} of ${size} bytes`, [frame(opcode, data)], [
        told(kind, data),
      ]);
    }
  }
  const data = new Uint8Array(262_144).fill(0x2a);
  const pieces = (size: number) =>
    Array.from(
      { length: data.length / size },
      (_, index) => data.subarray(index * size, (index + 1) * size),
    );
  for (const [part, opcode, kind] of [["9.3", text, "text"], ["9.4", binary, "binary"]] as const) {
    for (const [index, size] of [64, 256, 1_024, 4_096, 16_384, 65_536].entries()) {
      const send = [concat(fragments(opcode, pieces(size)))];
      yield echoes(`${part}.${index + 1}`, `${kind} in fragments of ${size}`, send, [
        told(kind, data),
      ]);
    }
  }
  for (const [part, opcode, kind] of [["9.5", text, "text"], ["9.6", binary, "binary"]] as const) {
    for (const [index, size] of [64, 128, 256, 512, 1_024, 2_048].entries()) {
      const what = `${kind} written ${size} bytes at a time`;
      yield echoes(`${part}.${index + 1}`, what, [frame(opcode, data)], [told(kind, data)], size);
    }
  }
  yield echoes("10.1.1", "text of 65536 bytes in fragments of 1300", [
    concat(
      fragments(
        text,
        Array.from(
          { length: 51 },
          (_, index) => data.subarray(0, 65_536).slice(index * 1_300, (index + 1) * 1_300),
        ),
      ),
    ),
  ], [told("text", data.subarray(0, 65_536))]);
}

function* compression(): Generator<Case> {
  const offers = "permessage-deflate; client_no_context_takeover; server_no_context_takeover";
  for (const [index, size] of [16, 64, 256, 1_024, 4_096, 32_768, 131_072].entries()) {
    const data = utf8(
      `{"a": ${index}, "text": "lorem ipsum"} `.repeat(Math.ceil(size / 32)).slice(0, size),
    );
    const zipped = deflated(data);
    const events = [told("text", data)];
    const what = `${size} bytes, compressed`;
    const send = [frame(text, zipped, { reserved: 4 })];
    yield { ...echoes(`12.1.${index + 1}`, what, send, events), offers };
    const half = zipped.length >> 1;
    const two = [
      frame(text, zipped.subarray(0, half), { reserved: 4, more: true }),
      frame(more, zipped.subarray(half)),
    ];
    yield { ...echoes(`13.1.${index + 1}`, `${what}, in two fragments`, two, events), offers };
  }
}

/** Every case. */
export const CASES: readonly Case[] = [
  ...framing(),
  ...pings(),
  ...reserved(),
  ...opcodes(),
  ...fragmentation(),
  ...unicode(),
  ...closes(),
  ...sizes(),
  ...compression(),
];
