/** What `doctor` finds of this machine, of real files and sockets, and of a server that runs. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import type { Result } from "../../lib/doctor/examine.ts";
import { testWith, whyNoNamespaces } from "../harness/needs.ts";
import { Project, type ProjectOptions, REPOSITORY } from "../harness/project.ts";
import { resultOf, Server } from "../harness/server.ts";
import { PATIENCE_MS } from "../harness/wait.ts";

interface Examined {
  readonly code: number;
  readonly checks: readonly Result[];
  /** What was found by a check, the worst first. */
  readonly of: (id: string) => string[];
}

/** Runs it on a project. */
async function examine(
  project: Project,
  prefix: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<Examined> {
  const [program, ...args] = [
    ...prefix,
    ...[Deno.execPath(), "run", "-A", join(REPOSITORY, "main.ts"), "doctor", "--json"],
    ...["--config", project.configFile],
  ];
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const output = await new Deno.Command(program!, { args, env, signal }).output();
  const { code, stdout, stderr } = resultOf(output);
  assert(stdout !== "", stderr);
  const { checks }: { checks: Result[] } = JSON.parse(stdout);
  return {
    code,
    checks,
    of: (id) =>
      checks.filter((each) => each.id === id).map(({ state, found }) => `${state}: ${found}`),
  };
}

const project = (options: ProjectOptions) => Project.create(options);

Deno.test("doctor has nothing to say of a config that serves, before and while it does", async () => {
  const fine = await project({
    config: { unveil: { "./data/": "rwc" }, log: { folder: "./log" } },
  });
  const before = await examine(fine);
  assertEquals(before.of("addresses"), [`ok: 127.0.0.1:${fine.port} is free`]);
  for (const id of ["config", "owners", "folders", "runtime", "variables", "addons", "names"]) {
    assertEquals(before.of(id).filter((each) => !each.startsWith("ok:")), [], id);
  }
  assertEquals(before.of("supervisor"), []);
  await using server = await Server.startOn(fine);
  const during = await examine(fine);
  assertEquals(during.of("addresses"), [`ok: 127.0.0.1:${fine.port} is this server's`]);
  assertEquals(during.of("supervisor"), [`ok: pid ${server.pid}, serving`]);
  // A later reload that is refused is told of.
  await fine.write("app.ts", "export default {");
  await server.reload();
  const after = await examine(fine);
  assertEquals(after.code, 1);
  assertMatch(after.of("supervisor").join("\n"), /^warning: pid \d+: the last reload was refused/);
  assertMatch(after.of("config").join("\n"), /^fault: /);
});

Deno.test("doctor names what is in the way of a start, each with what mends it", async () => {
  await using broken = await project({
    files: {
      "package.json": "{}",
      "node_modules/sharp/package.json": '{ "name": "sharp" }',
      "node_modules/sharp/build/Release/sharp.node": "",
    },
    config: {
      env: ["SHOP_TOKEN", "NODE_ENV"],
      net: ["nowhere.invalid:443"],
      http: { maxConnections: 1_000_000 },
    },
  });
  using _taken = Deno.listen({ hostname: "127.0.0.1", port: broken.port });
  await Deno.chmod(broken.path("app.ts"), 0o666);
  const later = new Date(Date.now() + 3_600_000);
  await Deno.utime(broken.path("package.json"), later, later);
  const { code, checks, of } = await examine(broken, [], { NODE_ENV: "development" });
  assertEquals(code, 1);
  const expected = {
    addresses: new RegExp(`^fault: 127.0.0.1:${broken.port} is taken by deno, pid ${Deno.pid}$`),
    owners: /^fault: .*app\.ts.*may be written by everybody/,
    addons: /^warning: sharp has build\/Release\/sharp\.node/,
    variables: /^warning: SHOP_TOKEN[^]*NODE_ENV is "development"/,
    names: /^warning: nowhere\.invalid, of "net", does not resolve/,
    clock: /^warning: .*package\.json was changed 3\d{3} s in the future/m,
    descriptors: /^warning: http.maxConnections is 1000000/,
  };
  for (const [id, pattern] of Object.entries(expected)) assertMatch(of(id).join("\n"), pattern);
  assertEquals(checks.filter(({ state, mend }) => state === "fault" && mend === undefined), []);
});

testWith(
  { programs: ["unshare"], root: true, missing: whyNoNamespaces() },
  "doctor sees a disk that is too small",
  async () => {
    await using small = await project({ config: { log: { folder: "./log" } } });
    await Deno.mkdir(small.path("log"));
    const script = [
      `mount -t tmpfs -o size=16m tmpfs ${small.path("log")}`,
      'exec "$@"',
    ].join(" && ");
    const { code, of } = await examine(small, ["unshare", "--mount", "sh", "-c", script, "sh"]);
    assertEquals(code, 1);
    assertMatch(of("disk").join("\n"), /^fault: 16 MiB left for the log folder/);
  },
);
