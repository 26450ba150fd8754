/** Workers on the C libraries of other releases of Debian: what those ask of the kernel on their own. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  type Arch,
  encodeProgram,
  type Instruction,
  seccompProgram,
} from "../../lib/sandbox/seccomp.ts";
import { DEBIAN_ROOT, inRoot, makeDebianRoot } from "../harness/debian_root.ts";
import {
  ANSWERED,
  answersIn,
  ASKING_APP,
  ASKING_NET,
  nameFiles,
  NAMES,
  untilAnswers,
  withNames,
  withServer,
} from "../harness/names.ts";
import { recordSkip, testWith } from "../harness/needs.ts";
import { HOLDFAST, Project, REPOSITORY } from "../harness/project.ts";
import { Server, type ServerOptions } from "../harness/server.ts";

/** Debian 11, 12 and 13: glibc 2.31, 2.36 and 2.41. */
const RELEASES = ["bullseye", "bookworm", "trixie"];

const DOUBLES = join(REPOSITORY, "tests/doubles");

const EPERM = "errno 1";
const ENOSYS = "errno 38";
const EINVAL = "errno 22";

/** What comes of each call; the errors are such that the caller goes on without. */
const CALLS: Readonly<Record<string, string>> = {
  getaddrinfo: "ok",
  "res_search, truncated": "ok",
  pthread_create: "ok",
  getpwuid: "bigint",
  setlocale: "something",
  iconv_open: "ok",
  clock_gettime: "ok",
  getrandom: "ok",
  eventfd2: "ok",
  timerfd_create: "ok",
  statx: "ok",
  membarrier: "ok",
  mmap: "ok",
  madvise: "ok",
  close_range: "ok",
  openat2: "errno 38",
  faccessat2: "ok",
  epoll_pwait2: "ok",
  futex_waitv: ENOSYS,
  rseq: EINVAL,
  clone3: ENOSYS,
  listns: ENOSYS,
  SO_REUSEADDR: "ok",
  SO_KEEPALIVE: "ok",
  TCP_NODELAY: "ok",
  TCP_KEEPIDLE: "ok",
  TCP_KEEPINTVL: "ok",
  TCP_KEEPCNT: "ok",
  TCP_USER_TIMEOUT: "ok",
  SO_LINGER: EPERM,
};

async function findDenoDir(): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

const needs = { programs: [...NAMES.programs, ...DEBIAN_ROOT.programs], root: true } as const;

testWith(
  needs,
  "names, threads and sockets work behind the wall with the C library of",
  async (t) => {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_roots_" }));
    try {
      for (const release of RELEASES) {
        const made = await makeDebianRoot(folder, release).catch((error: Error) => error);
        if (made instanceof Error) {
          recordSkip({ name: `the C library of ${release}`, why: made.message });
          continue;
        }
        for (const [path, text] of Object.entries(nameFiles())) {
          await Deno.writeTextFile(join(made, path), text);
        }
        const start = async (app: string, entry: Pick<ServerOptions, "entry"> = {}) => {
          const project = await Project.create({
            files: { "app.ts": app },
            config: { net: ASKING_NET },
          });
          const shared = [
            ...new Set([
              project.folder,
              HOLDFAST,
              REPOSITORY,
              Deno.execPath(),
              await findDenoDir(),
            ]),
          ];
          const prefix = [...withServer(), ...await inRoot(made, shared)];
          return await Server.startOn(project, { prefix, ...entry });
        };
        await t.step(`${release}, for what an app dials by name`, async () => {
          await using server = await start(ASKING_APP);
          assertEquals(answersIn(await untilAnswers(server), ANSWERED), ANSWERED);
        });
        await t.step({
          name: `${release}, for what native code asks`,
          ignore: Deno.build.arch !== "x86_64",
          fn: async () => {
            const app = `import { tryDriverCalls } from "file://${DOUBLES}/driver_calls.ts";
            export function open() { console.log(JSON.stringify(tryDriverCalls())); }
            export default { fetch: () => new Response("ok") };`;
            await using server = await start(app, { entry: [join(DOUBLES, "wide_supervisor.ts")] });
            assertEquals(JSON.parse(await untilAnswers(server)), CALLS);
          },
        });
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

testWith(
  { ...needs, programs: [...needs.programs, "gcc"] },
  "musl looks names up behind the same filter, by UDP, and starts threads",
  async () => {
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_musl_" });
    try {
      const made = await makeDebianRoot(folder, "trixie", ["musl-dev", "linux-libc-dev"])
        .catch((error: Error) => error);
      if (made instanceof Error) return recordSkip({ name: "musl", why: made.message });
      const triplet = `${Deno.build.arch}-linux-musl`;
      const [headers, libraries] = [`${made}/usr/include`, `${made}/usr/lib/${triplet}`];
      const program = join(folder, "ask_by_musl");
      const built = await new Deno.Command("gcc", {
        args: [
          ...["-static", "-nostdinc", "-nostdlib", "-isystem", `${headers}/${triplet}`],
          ...["-isystem", headers, "-isystem", `${headers}/${Deno.build.arch}-linux-gnu`],
          ...["-o", program, `${libraries}/crt1.o`, join(DOUBLES, "ask_by_musl.c")],
          ...[`${libraries}/libc.a`, "-lgcc"],
        ],
      }).output();
      assert(built.success, new TextDecoder().decode(built.stderr));
      const filter = join(folder, "filter");
      const arch = Deno.build.arch as Arch;
      const policy = { network: "names", listens: false, runs: false } as const;
      // Nobody is there to be asked: as where each address is granted.
      const [ask, allow] = [0x7fc00000, 0x7fff0000];
      const granted = seccompProgram(arch, policy).map((
        [code, jt, jf, k],
      ): Instruction => [code, jt, jf, k === ask ? allow : k]);
      await Deno.writeFile(filter, encodeProgram(granted));
      const [first, ...more] = [...await withNames(folder), program, filter];
      const { code, stdout } = await new Deno.Command(first!, { args: more, stderr: "inherit" })
        .output();
      // By TCP it asks with sendmsg(2), which is refused: what has no room in a datagram it does not get.
      const lines = new TextDecoder().decode(stdout).trim().split("\n")
        .filter((line) => !line.startsWith("large.test"));
      assertEquals([code, lines], [0, [
        "small.test: 1",
        "missing.test: Name does not resolve",
        "pthread_create: 0",
        "stat: 0",
        "malloc: 0",
      ]]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
