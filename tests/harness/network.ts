/** Hosts of their own on one machine: network namespaces, joined by a bridge in another one. */
import { hasProgram } from "../../tools/programs.ts";

/** A host: how to run something on it, and its address. */
export interface Host {
  /** What stands before a command that is to run there. */
  readonly prefix: readonly string[];
  /** Its address on the bridge. */
  readonly address: string;
}

/**
 * A front host with a bridge, and hosts behind it that reach each other over it and nothing else.
 * Every link and address is within the namespaces, so nothing of this machine's own network is
 * touched, and all of it is gone with them.
 */
export class Network implements AsyncDisposable {
  readonly front: Host;
  readonly hosts: readonly Host[];
  readonly #namespaces: readonly string[];

  constructor(namespaces: readonly string[]) {
    this.#namespaces = namespaces;
    const [front, ...hosts] = namespaces.map((name, index) => ({
      prefix: ["ip", "netns", "exec", name],
      address: `10.0.0.${index + 1}`,
    }));
    this.front = front!;
    this.hosts = hosts;
  }

  /** Makes it. Only root may; without that, or without iproute2, it throws. */
  static async create(count: number): Promise<Network> {
    if (!hasProgram("ip")) {
      throw new Error("Cannot make networks: no ip. Run: apt-get install iproute2");
    }
    const numbers = Array.from({ length: count + 1 }, (_, index) => index);
    const names = numbers.map((number) => `holdfast_${Deno.pid}_${number}`);
    const network = new Network(names);
    try {
      for (const name of names) {
        await ip("netns", "add", name);
        await ip("-n", name, "link", "set", "lo", "up");
      }
      const front = names[0]!;
      await ip("-n", front, "link", "add", "bridge", "type", "bridge");
      await ip("-n", front, "address", "add", `${network.front.address}/24`, "dev", "bridge");
      await ip("-n", front, "link", "set", "bridge", "up");
      for (const [index, host] of network.hosts.entries()) {
        const [name, port] = [names[index + 1]!, `port${index}`];
        const peer = ["peer", "name", "eth0", "netns", name];
        await ip("-n", front, "link", "add", port, "type", "veth", ...peer);
        await ip("-n", front, "link", "set", port, "master", "bridge", "up");
        await ip("-n", name, "address", "add", `${host.address}/24`, "dev", "eth0");
        await ip("-n", name, "link", "set", "eth0", "up");
      }
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
    return network;
  }

  /** Removes all of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    const present = (await ip("netns", "list")).split("\n").map((line) => line.split(" ")[0]!);
    for (const name of this.#namespaces) {
      if (present.includes(name)) await ip("netns", "delete", name);
    }
  }
}

async function ip(...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command("ip", { args }).output();
  const decoder = new TextDecoder();
  if (!success) throw new Error(`ip ${args.join(" ")}: ${decoder.decode(stderr).trim()}`);
  return decoder.decode(stdout);
}
