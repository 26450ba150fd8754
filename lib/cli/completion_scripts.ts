/** Completion for shells, made from the table of commands. Pure. */
import { ASKED, COMMANDS, type Completion, OPTIONS, optionsOf, SHORT } from "./manual.ts";

const NAMES = Object.keys(COMMANDS);

/** The second words of commands of two, by the first. */
function secondWords(): Map<string, string[]> {
  const pairs = NAMES.filter((name) => name.includes(" ")).map((name) => name.split(" "));
  const by = Map.groupBy(pairs, ([first]) => first!);
  return new Map([...by].map(([first, all]) => [first, all.map(([, second]) => second!)]));
}

const FIRST_WORDS = [...new Set(NAMES.map((name) => name.split(" ")[0]!))];

/** How an option is written, in each way. */
function spellings(option: string): string[] {
  return [`--${option}`, ...SHORT[option] === undefined ? [] : [SHORT[option]]];
}

function takesValue(option: string): boolean {
  return OPTIONS[option]!.value !== undefined;
}

const WITH_VALUE = Object.keys(OPTIONS).filter(takesValue);

function isAsked(completes: Completion): completes is typeof ASKED[number] {
  return (ASKED as readonly unknown[]).includes(completes);
}

/** In single quotes, for any shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** What a case of bash or zsh does about a value. */
function offer(completes: Completion | undefined): string {
  if (completes === undefined) return ":";
  if (completes === "files") return "_holdfast_files";
  if (completes === "folders") return "_holdfast_folders";
  if (isAsked(completes)) return `_holdfast_ask ${completes}`;
  return `_holdfast_words ${quoted(completes.join(" "))}`;
}

/** What bash and zsh have in common: which words stand before, and what may follow. */
function cases(): string {
  const values = WITH_VALUE.map((option) =>
    `    ${spellings(option).join("|")}) ${offer(OPTIONS[option]!.completes)}; return ;;`
  );
  const options = NAMES.map((name) => {
    const words = optionsOf(name).flatMap(spellings).join(" ");
    return `      ${quoted(name)}) _holdfast_words ${quoted(words)} ;;`;
  });
  const seconds = [...secondWords()].map(([first, words]) =>
    `    ${quoted(first)}) _holdfast_words ${quoted(words.join(" "))} ;;`
  );
  const taken = NAMES.flatMap((name) => {
    const { completes } = COMMANDS[name]!;
    return completes === undefined ? [] : [`    ${quoted(name)}) ${offer(completes)} ;;`];
  });
  return `  case $before in
${values.join("\n")}
  esac
  if [[ $current == -* ]]; then
    case $command in
${options.join("\n")}
      *) _holdfast_words '--config --help --version' ;;
    esac
    return
  fi
  case $command in
    '') _holdfast_words ${quoted(FIRST_WORDS.join(" "))} ;;
${[...seconds, ...taken].join("\n")}
  esac`;
}

/** Whether the word before takes the next one. */
const VALUED = WITH_VALUE.flatMap(spellings).join("|");

/** For bash 4 and newer. */
export function bashCompletion(): string {
  return `# Completion of holdfast for bash: source <(holdfast completion bash)
_holdfast_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current"); }
_holdfast_files() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current"); }
_holdfast_folders() { compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$current"); }
_holdfast_ask() { _holdfast_words "$("$program" completion "$1" "\${config[@]}" 2>/dev/null)"; }

_holdfast() {
  local program=\${COMP_WORDS[0]} current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]}
  local command='' word index
  local -a config=()
  COMPREPLY=()
  # bash takes the = of --option=value for a word.
  if [[ $current == = ]]; then current=''
  elif [[ $before == = ]]; then before=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case $word in
      --config)
        [[ \${COMP_WORDS[index+1]} == = ]] && ((index++))
        config=(--config "\${COMP_WORDS[index+1]}")
        ((index++)) ;;
      ${VALUED}) ((index++)) ;;
      -*|=) ;;
      *) command="\${command:+$command }$word" ;;
    esac
  done
${cases()}
}

complete -F _holdfast holdfast`;
}

/** For zsh. */
export function zshCompletion(): string {
  return `#compdef holdfast
# Completion of holdfast for zsh: a file _holdfast in a folder of $fpath
_holdfast_words() { compadd -- \${=1} }
_holdfast_files() { _files }
_holdfast_folders() { _files -/ }
_holdfast_ask() { compadd -- \${(f)"$("$program" completion "$1" "\${config[@]}" 2>/dev/null)"} }

_holdfast() {
  local program=$words[1] current=$words[CURRENT] before=$words[CURRENT-1]
  local command='' word
  local -i index
  local -a config
  for ((index = 2; index < CURRENT; index++)); do
    word=$words[index]
    case $word in
      --config) config=(--config "$words[index+1]"); ((index++)) ;;
      ${VALUED}) ((index++)) ;;
      -*) ;;
      *) command="\${command:+$command }$word" ;;
    esac
  done
${cases()}
}

if [[ $funcstack[1] == _holdfast ]]; then _holdfast "$@"; else compdef _holdfast holdfast; fi`;
}

/** For fish. */
export function fishCompletion(): string {
  const lines = ["# Completion of holdfast for fish", "complete -c holdfast -f"];
  const add = (when: string, ...words: string[]) =>
    lines.push(["complete -c holdfast -n", quoted(when), ...words].join(" "));
  const value = (completes: Completion | undefined): string[] => {
    if (completes === undefined) return ["-x"];
    if (completes === "files") return ["-r", "-F"];
    if (completes === "folders") return ["-x", "-a", quoted("(__fish_complete_directories)")];
    if (!isAsked(completes)) return ["-x", "-a", quoted(completes.join(" "))];
    return ["-x", "-a", quoted(`(holdfast completion ${completes} 2>/dev/null)`)];
  };
  for (const first of FIRST_WORDS) {
    add("__fish_use_subcommand", "-a", first, "-d", quoted(COMMANDS[first]?.does ?? first));
  }
  for (const [first, words] of secondWords()) {
    for (const second of words) {
      const when =
        `__fish_seen_subcommand_from ${first}; and not __fish_seen_subcommand_from ${second}`;
      add(when, "-a", second, "-d", quoted(COMMANDS[`${first} ${second}`]!.does));
    }
  }
  for (const name of NAMES) {
    const when = name.split(" ").map((word) => `__fish_seen_subcommand_from ${word}`).join(
      "; and ",
    );
    const { completes } = COMMANDS[name]!;
    if (completes !== undefined) {
      const [kind, ...words] = value(completes);
      add(when, ...kind === "-r" ? words : [...words, "-f"]);
    }
    for (const option of optionsOf(name)) {
      const short = SHORT[option] === undefined ? [] : ["-s", SHORT[option].slice(1)];
      const taken = takesValue(option) ? value(OPTIONS[option]!.completes) : [];
      add(when, "-l", option, ...short, ...taken, "-d", quoted(OPTIONS[option]!.does));
    }
  }
  return lines.join("\n");
}
