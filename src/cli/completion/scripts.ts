/**
 * Scripts that complete `drover` in a shell. Each of them holds the whole tree of commands, so that a key press starts no
 * process: it follows the words so far to a place in the tree and offers what may stand there.
 */
import type { Flag, Place } from "./command-tree.ts";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

const writers: Record<Shell, (places: readonly Place[]) => string> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};

export function completionScript(shell: Shell, places: readonly Place[]): string {
  return writers[shell](places);
}

const nameOf = ({ words }: Place): string => words.join(" ");
const wordsOf = ({ verbs, flags, values }: Place): string[] => [
  ...verbs.map(({ name }) => name),
  ...values,
  ...flags.map(({ name }) => name),
];

/** Branches of a `case` of bash or zsh that go from a place by one of its verbs to the place below. */
function steps(places: readonly Place[]): string[] {
  return places
    .filter(({ words }) => words.length > 0)
    .map(({ words }) => {
      const above = words.slice(0, -1).join(" ");
      return `      ${quote(`${above}|${words.at(-1)}`)}) at=${quote(words.join(" "))} ;;`;
    });
}

/** Flags that take a value, by place. */
function valued(places: readonly Place[]): { place: string; flag: Flag }[] {
  return places.flatMap((place) =>
    place.flags.filter(({ takesValue }) => takesValue).map((flag) => ({ place: nameOf(place), flag })),
  );
}

function bashScript(places: readonly Place[]): string {
  const offers = places.map(
    (place) => `    ${quote(nameOf(place))}) offered=${quote(wordsOf(place).join(" "))} ;;`,
  );
  // A value that may be anything is left to the shell, which offers files.
  const values = valued(places).map(
    ({ place, flag }) =>
      `    ${quote(`${place}|${flag.name}`)}) offered=${quote((flag.values ?? []).join(" "))} ;;`,
  );
  return `# drover completion bash: eval "$(drover completion bash)"
_drover() {
  local word i at="" offered=""
  local current="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}"
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$at|$word" in
${steps(places).join("\n")}
    esac
  done
  case "$at" in
${offers.join("\n")}
  esac
  case "$at|$before" in
${values.join("\n")}
  esac
  COMPREPLY=($(compgen -W "$offered" -- "$current"))
}
complete -o default -F _drover drover
`;
}

function zshScript(places: readonly Place[]): string {
  const described = ({ name, description }: { name: string; description: string }) =>
    quote(`${name.replaceAll(":", "\\:")}:${description}`);
  const offers = places.map((place) => {
    const values = place.values.map((name) => ({ name, description: "" }));
    const offered = [...place.verbs, ...values, ...place.flags].map(described);
    return `    ${quote(nameOf(place))}) offered=(${offered.join(" ")}) ;;`;
  });
  const values = valued(places).map(({ place, flag }) => {
    const then = flag.values === undefined ? "_files" : `compadd -- ${flag.values.map(quote).join(" ")}`;
    return `    ${quote(`${place}|${flag.name}`)}) ${then}; return ;;`;
  });
  return `#compdef drover
# drover completion zsh: eval "$(drover completion zsh)", after compinit
_drover() {
  local word at=""
  local -a offered
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$at|$word" in
${steps(places).join("\n")}
    esac
  done
  case "$at|\${words[CURRENT-1]}" in
${values.join("\n")}
  esac
  case "$at" in
${offers.join("\n")}
  esac
  _describe drover offered
}
compdef _drover drover
`;
}

function fishScript(places: readonly Place[]): string {
  const moves = places
    .filter(({ words }) => words.length > 0)
    .map(({ words }) => {
      const above = words.slice(0, -1).join(" ");
      return `      case ${fishQuote(`${above}|${words.at(-1)}`)}\n        set at ${fishQuote(words.join(" "))}`;
    });
  const lines = places.flatMap((place) => {
    const start = `complete -c drover -n ${fishQuote(`__drover_at ${fishQuote(nameOf(place))}`)}`;
    return [
      ...place.verbs.map(
        ({ name, description }) => `${start} -f -a ${fishQuote(name)} -d ${fishQuote(description)}`,
      ),
      ...place.values.map((name) => `${start} -f -a ${fishQuote(name)}`),
      ...place.flags.map((flag) => `${start} ${fishFlag(flag)}`),
    ];
  });
  return `# drover completion fish: drover completion fish | source
function __drover_at
  set -l at ''
  for word in (commandline -opc)[2..-1]
    switch "$at|$word"
${moves.join("\n")}
    end
  end
  test "$at" = "$argv[1]"
end
${lines.join("\n")}
`;
}

function fishFlag({ name, description, takesValue, values }: Flag): string {
  const value = values === undefined ? " -r" : ` -x -a ${fishQuote(values.join(" "))}`;
  return `-l ${name.replace(/^--/, "")}${takesValue ? value : ""} -d ${fishQuote(description)}`;
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const fishQuote = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
