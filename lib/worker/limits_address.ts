/** How many connections each client has: by its address, and an IPv6 client by its /64. */
import net from "node:net";

/** What is counted as one client; nothing for what is no IP address. */
export function clientKey(address: string): string | undefined {
  if (net.isIPv4(address)) return address;
  const [plain = ""] = address.split("%");
  if (!net.isIPv6(plain)) return undefined;
  // Without a dotted end, which is another spelling of two groups.
  const [head = "", tail = ""] = new URL(`http://[${plain}]`).hostname.slice(1, -1).split("::");
  const [before, after] = [head, tail].map((text) => text === "" ? [] : text.split(":"));
  const groups = [...before!, ...Array(8 - before!.length - after!.length).fill("0"), ...after!];
  if (/^(0:){5}ffff$/.test(groups.slice(0, 6).join(":"))) {
    const [high, low] = groups.slice(6).map((group) => Number.parseInt(group, 16)) as [
      number,
      number,
    ];
    return [high >> 8, high & 255, low >> 8, low & 255].join(".");
  }
  return `${groups.slice(0, 4).join(":")}::/64`;
}

export class AddressTable {
  readonly #most: number;
  readonly #counts = new Map<string, number>();

  /** @param most how many connections a client may have; 0 for any number */
  constructor(most: number) {
    this.#most = most;
  }

  /** Whether addresses are counted at all. */
  get counts(): boolean {
    return this.#most !== 0;
  }

  /**
   * Counts a connection.
   *
   * @returns what ends that; nothing if the client has too many
   */
  enter(address: string): (() => void) | undefined {
    const key = this.#most === 0 ? undefined : clientKey(address);
    if (key === undefined) return () => {};
    const count = this.#counts.get(key) ?? 0;
    if (count >= this.#most) return undefined;
    this.#counts.set(key, count + 1);
    return () => {
      const left = this.#counts.get(key)! - 1;
      if (left === 0) this.#counts.delete(key);
      else this.#counts.set(key, left);
    };
  }
}
