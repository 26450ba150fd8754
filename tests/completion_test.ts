/** Completion in the shells themselves, and the man page. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { bashCompletion, fishCompletion, zshCompletion } from "../lib/cli/completion_scripts.ts";
import { manPage } from "../lib/cli/man.ts";
import { COMMANDS, OPTIONS, optionsOf } from "../lib/cli/manual.ts";
import { findMissing, recordSkip } from "./harness/needs.ts";
import type { ProgramName } from "../tools/programs.ts";

/** A folder with files, and a program `holdfast` that says what it is asked for. */
async function place() {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
  await Deno.mkdir(join(folder, "empty"));
  await Deno.mkdir(join(folder, "configs"));
  await Deno.writeTextFile(join(folder, "app.ts"), "");
  await Deno.writeTextFile(join(folder, "a b.jsonc"), "");
  const program = `#!/bin/sh\nshift\necho "asked-$*" | tr ' ' '-'\n`;
  await Deno.writeTextFile(join(folder, "holdfast"), program, { mode: 0o755 });
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

async function run(program: string, args: string[], cwd: string, input = "") {
  const child = new Deno.Command(program, {
    ...{ args, cwd, stdin: "piped", stdout: "piped", stderr: "piped" },
    env: { PATH: `${cwd}:${Deno.env.get("PATH")}`, HOME: cwd },
  }).spawn();
  const output = child.output();
  await new Blob([input]).stream().pipeTo(child.stdin);
  const { code, stdout, stderr } = await output;
  const [out, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, stdout: out!, stderr: errors! };
}

/** What is typed, where the last word is completed; and some of what is offered, or all of it. */
const TYPED: [words: string[], offered: string[], how: "all" | "some"][] = [
  [["st"], ["start", "status", "stop"], "all"],
  [["logs", ""], ["reopen"], "all"],
  [["logs", "--"], optionsOf("logs").map((option) => `--${option}`), "some"],
  [["status", "--w"], ["--wide"], "all"],
  [["logs", "-f", "--level", "w"], ["warn"], "all"],
  [["logs", "--process", ""], ["asked-processes"], "all"],
  [["why", "--config", "x.jsonc", "--helper", ""], ["asked-helpers---config-x.jsonc"], "all"],
  [["rollback", ""], ["asked-releases"], "all"],
  [["audit", "--only", ""], ["asked-attempts"], "all"],
  [["help", ""], ["asked-commands"], "all"],
  [["completion", ""], ["bash", "fish", "zsh"], "all"],
  [["check", "ap"], ["app.ts"], "all"],
  [["check", "--config", "a"], ["a b.jsonc", "app.ts"], "all"],
  [["compile", "--state", ""], ["configs", "empty"], "all"],
];

function shellTest(shell: ProgramName, test: (folder: string) => Promise<void>): void {
  const name = `${shell} completes commands, options, files and what depends on the config`;
  const why = findMissing({ programs: [shell] });
  if (why !== undefined) recordSkip({ name, why });
  Deno.test({
    ...{ name, ignore: why !== undefined },
    fn: async () => {
      await using own = await place();
      await test(own.folder);
    },
  });
}

/** Compares what a shell offers, a block of lines for each of {@linkcode TYPED}. */
function assertOffers(stdout: string, but: readonly number[] = []): void {
  const blocks = stdout.split("----\n").slice(1);
  assertEquals(blocks.length, TYPED.length, stdout);
  for (const [index, [words, offered, how]] of TYPED.entries()) {
    if (but.includes(index)) continue;
    const found = blocks[index]!.split("\n").map((line) => line.split("\t")[0]!.replace(/\/$/, ""))
      .filter((line) => line !== "");
    if (how === "all") assertEquals(found.toSorted(), offered.toSorted(), words.join(" "));
    else assertEquals(offered.filter((each) => !found.includes(each)), [], words.join(" "));
  }
}

const quote = (word: string) => `'${word}'`;

shellTest("bash", async (folder) => {
  const script = [
    bashCompletion(),
    ...TYPED.map(([words]) =>
      `COMP_WORDS=(holdfast ${words.map(quote).join(" ")}); COMP_CWORD=${words.length}; _holdfast
      echo ----; printf '%s\\n' "\${COMPREPLY[@]}"`
    ),
    // bash gives the = of an option as a word.
    `COMP_WORDS=(holdfast logs --level = er); COMP_CWORD=4; _holdfast; echo "got \${COMPREPLY[*]}"`,
    `COMP_WORDS=(holdfast why --config = x --helper ''); COMP_CWORD=6; _holdfast; echo "got \${COMPREPLY[*]}"`,
  ].join("\n");
  const { code, stdout, stderr } = await run("bash", ["--norc"], folder, script);
  assertEquals([code, stderr], [0, ""]);
  assertOffers(stdout.replaceAll(/^got .*\n/gm, ""));
  assertEquals(stdout.match(/^got .*$/gm), ["got error", "got asked-helpers---config-x"]);
});

shellTest("zsh", async (folder) => {
  // Without a terminal its own functions have nothing to complete in: they tell what they are given.
  const script = [
    ...["compdef() { :; }", "_files() { print -l -- FILES $1 }"],
    `compadd() { shift; local each; for each in "$@"; do [[ $each == $words[CURRENT]* ]] && print -r -- $each; done; true }`,
    zshCompletion(),
    ...TYPED.map(([words]) =>
      `words=(holdfast ${words.map(quote).join(" ")}); CURRENT=${
        words.length + 1
      }; print -- ----; _holdfast`
    ),
  ].join("\n");
  await Deno.writeTextFile(join(folder, "script.zsh"), script);
  const { code, stdout, stderr } = await run("zsh", ["-f", "script.zsh"], folder);
  assertEquals([code, stderr], [0, ""]);
  const files = TYPED.length - 3;
  assertOffers(stdout, [files, files + 1, files + 2]);
  assertEquals(stdout.match(/^FILES\n(-\/\n)?/gm), ["FILES\n", "FILES\n", "FILES\n-/\n"]);
});

shellTest("fish", async (folder) => {
  const script = [
    fishCompletion(),
    ...TYPED.map(([words]) => `echo ----; complete -C ${quote(`holdfast ${words.join(" ")}`)}`),
  ].join("\n");
  await Deno.writeTextFile(join(folder, "script.fish"), script);
  const { code, stdout, stderr } = await run("fish", ["--no-config", "script.fish"], folder);
  assertEquals([code, stderr], [0, ""]);
  // It does not say to a program which config was named.
  const named = TYPED.findIndex(([words]) => words.includes("x.jsonc"));
  assertOffers(stdout, [named]);
  assertStringIncludes(stdout, "asked-helpers");
});

Deno.test("the man page has every command, option and exit status, and is right roff", async () => {
  const page = manPage();
  for (const name of Object.keys(COMMANDS)) assertStringIncludes(page, `\n.SS ${name}`);
  for (const option of Object.keys(OPTIONS)) {
    assertStringIncludes(page, `.B \\-\\-${option}`);
  }
  assertEquals(
    page.split("\n").filter((line) => /^['.](?!TH|SS|SH|TP|B|I|PP|EX|EE)/.test(line)),
    [],
  );
  const why = findMissing({ programs: ["mandoc"] });
  if (why !== undefined) return recordSkip({ name: "the man page, by mandoc", why });
  const { code, stdout } = await run(
    "mandoc",
    ["-Tlint", "-W", "warning"],
    Deno.cwd(),
    `${page}\n`,
  );
  // It has no date, so that it changes with the program alone.
  const said = stdout.trim().split("\n").filter((line) =>
    !/missing date/.test(line) && line !== ""
  );
  assertEquals([said, code <= 2], [[], true]);
  const shown = await run("mandoc", ["-Tutf8"], Deno.cwd(), `${page}\n`);
  assert(/holdfast logs -f --process worker --level warn/.test(shown.stdout), shown.stdout);
});
