/** DER (X.690), as much of it as requests and certificates need. It is written, and never read. */

export type Der = Uint8Array<ArrayBuffer>;

const TAG = {
  ...{ integer: 0x02, bits: 0x03, octets: 0x04, oid: 0x06, text: 0x0c, time: 0x18 },
  ...{ sequence: 0x30, set: 0x31 },
} as const;

/** One element. */
export function element(tag: number, ...parts: readonly Uint8Array[]): Der {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const digits = length < 0x80 ? [] : bytesOf(length);
  const head = length < 0x80 ? [tag, length] : [tag, 0x80 | digits.length, ...digits];
  const whole = new Uint8Array(head.length + length);
  whole.set(head);
  parts.reduce((at, part) => {
    whole.set(part, at);
    return at + part.length;
  }, head.length);
  return whole;
}

function bytesOf(number: number): number[] {
  return number < 0x100 ? [number] : [...bytesOf(Math.floor(number / 0x100)), number % 0x100];
}

export function sequence(...parts: readonly Uint8Array[]): Der {
  return element(TAG.sequence, ...parts);
}

export function set(...parts: readonly Uint8Array[]): Der {
  return element(TAG.set, ...parts);
}

/** A number that is not negative, by its bytes. */
export function integer(bytes: Uint8Array): Der {
  const first = bytes.findIndex((byte) => byte !== 0);
  const digits = first < 0 ? Uint8Array.of(0) : bytes.subarray(first);
  return digits[0]! < 0x80
    ? element(TAG.integer, digits)
    : element(TAG.integer, Uint8Array.of(0), digits);
}

export function bits(bytes: Uint8Array): Der {
  return element(TAG.bits, Uint8Array.of(0), bytes);
}

export function octets(bytes: Uint8Array): Der {
  return element(TAG.octets, bytes);
}

export function text(value: string): Der {
  return element(TAG.text, new TextEncoder().encode(value));
}

/** GeneralizedTime, to the second. */
export function time(date: Date): Der {
  const digits = date.toISOString().replace(/\.\d+|[-:T]/g, "");
  return element(TAG.time, new TextEncoder().encode(digits));
}

/** An object identifier, such as `2.5.29.17`. */
export function oid(dotted: string): Der {
  const [first, second, ...rest] = dotted.split(".").map(Number) as [number, number];
  const bytes = [first * 40 + second, ...rest].flatMap((arc) => {
    const septets = [arc % 0x80];
    for (let left = Math.floor(arc / 0x80); left > 0; left = Math.floor(left / 0x80)) {
      septets.unshift(0x80 | left % 0x80);
    }
    return septets;
  });
  return element(TAG.oid, Uint8Array.from(bytes));
}

/** The same bytes as a text in PEM. */
export function pem(label: string, der: Uint8Array): string {
  const lines = der.toBase64().match(/.{1,64}/g)!;
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}
