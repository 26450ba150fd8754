import { assert, assertEquals, assertThrows } from "@std/assert";
import type { BoundAddress } from "../lib/config/config.ts";
import { HoldfastError } from "../lib/base/error.ts";
import { closeDescriptor, duplicateDescriptor } from "../lib/os/descriptor.ts";
import { setSocketMode } from "../lib/os/file.ts";
import { socketPair } from "../lib/os/socket.ts";
import { listeningName } from "../lib/os/socket_name.ts";
import { readOptions, restoreOptions } from "../lib/os/socket_options.ts";
import { adoptListener } from "../lib/supervisor/adopted_listener.ts";
import { bindListener } from "../lib/supervisor/listener.ts";
import { freePort } from "./harness/ports.ts";
import { untilRefused } from "./harness/wait.ts";
import "./harness/libraries.ts";

// The C library is loaded by the first call and stays, which is no leak of a test.
socketPair().forEach(closeDescriptor);
assertThrows(() => duplicateDescriptor(-1), Error, "errno 9");
assertThrows(() => setSocketMode("/nothing/here", 0), Error, "Cannot open");
assertEquals(listeningName(-1), undefined);
assertEquals(readOptions(-1), []);

function tcp(port: number, host = "127.0.0.1"): Extract<BoundAddress, { kind: "tcp" }> {
  return { kind: "tcp", text: `${host}:${port}`, host, port };
}

function unix(path: string): Extract<BoundAddress, { kind: "unix" }> {
  return { kind: "unix", text: `unix:${path}`, path, mode: 0o600 };
}

Deno.test("a TCP listener of another lives on in the one that adopts it", async () => {
  for (const host of ["127.0.0.1", "0.0.0.0", "::1"]) {
    const address = tcp(freePort(), host);
    const first = await bindListener(address);
    const adopted = adoptListener(first.duplicate(), address);
    first.close();
    const hostname = host === "0.0.0.0" ? "127.0.0.1" : host;
    const connect = async () => (await Deno.connect({ hostname, port: address.port })).close();
    await connect();
    const copy = adopted.duplicate();
    assertEquals(adopted.listenAgain(), false);
    adopted.update(address);
    adopted.close();
    await connect();
    closeDescriptor(copy);
    await untilRefused(connect);
  }
});

Deno.test("a listener that is adopted has the options of a new one", async () => {
  for (const host of ["127.0.0.1", "::1"]) {
    const address = tcp(freePort(), host);
    const first = await bindListener(address);
    const fd = first.duplicate();
    const bound = readOptions(fd);
    // SO_KEEPALIVE and TCP_KEEPIDLE, as a worker may have left them.
    const left = [{ level: 1, name: 9, value: 1 }, { level: 6, name: 4, value: 1 }];
    restoreOptions(fd, left);
    const adopted = adoptListener(duplicateDescriptor(fd), address);
    assertEquals(adopted.setBack(), []);
    restoreOptions(fd, left);
    assertEquals(adopted.setBack(), ["1:9", "6:4"]);
    assertEquals(readOptions(fd), bound);
    adopted.close();
    first.close();
    closeDescriptor(fd);
  }
});

Deno.test("a Unix listener that was adopted takes its file along, and no other", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const replaced of [false, true]) {
      const address = unix(`${folder}/${replaced}.sock`);
      const first = await bindListener(address);
      const fd = first.duplicate();
      const adopted = adoptListener(fd, address);
      adopted.update({ ...address, mode: 0o660 });
      assertEquals(Deno.lstatSync(address.path).mode! & 0o777, 0o660);
      (await Deno.connect({ transport: "unix", path: address.path })).close();
      if (replaced) {
        Deno.removeSync(address.path);
        Deno.writeTextFileSync(address.path, "another's");
        assertThrows(() => adopted.update(address), Error, "another file");
      }
      adopted.close();
      const left = [...Deno.readDirSync(folder)].some(({ name }) => name === `${replaced}.sock`);
      assertEquals(left, replaced);
      first.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what does not listen on the address is refused, and stays its owner's", async () => {
  const folder = await Deno.makeTempDir();
  const address = tcp(freePort());
  const first = await bindListener(address);
  const local = await bindListener(unix(`${folder}/a.sock`));
  const [one, other] = socketPair();
  const fds = { tcp: first.duplicate(), unix: local.duplicate() };
  try {
    const cases: [number, BoundAddress, string][] = [
      [fds.tcp, tcp(address.port, "127.0.0.2"), "a listener on 127.0.0.1 port"],
      [fds.tcp, tcp(freePort()), "a listener on 127.0.0.1 port"],
      [fds.tcp, unix(`${folder}/a.sock`), "a listener on 127.0.0.1 port"],
      [fds.unix, address, "a listener on unix:"],
      [fds.unix, unix(`${folder}/b.sock`), "a listener on unix:"],
      [one, address, "no stream socket that listens"],
      [999, address, "no stream socket that listens"],
    ];
    for (const [fd, wanted, found] of cases) {
      const error = assertThrows(() => adoptListener(fd, wanted), HoldfastError, found);
      assertEquals((error as HoldfastError).code, "listener_unfit");
    }
    assert(first.listenAgain() === false);
    adoptListener(fds.tcp, address).close();
  } finally {
    closeDescriptor(fds.unix);
    for (const fd of [one, other]) closeDescriptor(fd);
    first.close();
    local.close();
    await Deno.remove(folder, { recursive: true });
  }
});
