import { beforeAll, describe, expect, it } from "vitest";
import { runShell } from "../helpers/doc-blocks.ts";
import { runInProcess } from "../helpers/run-in-process.ts";

async function script(shell: string): Promise<string> {
  const { code, stdout, stderr } = await runInProcess(["completion", shell]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

/** The words of a command line that ends where somebody presses the tab key, and what the shell should offer. */
const lines: [line: string, offers: string[]][] = [
  ["drover ser", ["serve"]],
  ["drover d", ["db", "doctor"]],
  ["drover db ", ["migrate", "--help"]],
  ["drover agents un", ["uncordon"]],
  ["drover agents --cord", ["--cordon"]],
  ["drover --url http://a agents list --st", ["--status"]],
  ["drover agents --status b", ["busy", "benchmarked"]],
  ["drover agents list --liveness ", ["never", "live", "stale", "offline"]],
  ["drover tokens create --role en", ["enrollment"]],
  ["drover tokens create --role enrollment --max", ["--max-uses"]],
  ["drover serve --brake-r", ["--brake-rate"]],
  ["drover doctor --quota-e", ["--quota-errors-per-agent", "--quota-errors"]],
  ["drover completion ", ["bash", "zsh", "fish", "--help"]],
  ["drover tasks create --payload ", []],
  ["drover nonsense --x", []],
];

describe("drover completion bash", () => {
  let offered: string[];

  beforeAll(async () => {
    const presses = lines.map(([line]) => {
      const words = line.split(" ").map((word) => `'${word}'`);
      return `COMP_WORDS=(${words.join(" ")}); COMP_CWORD=${words.length - 1}; _drover; echo "\${COMPREPLY[*]}"`;
    });
    const output = await runShell(
      `set -u\n${await script("bash")}\n${presses.join("\n")}\ncomplete -p drover`,
      ".",
      {},
    );
    offered = output.split("\n");
  });

  it.each(lines.map(([line, offers], index) => ({ line, offers, index })))("$line", ({ offers, index }) => {
    expect((offered[index] ?? "").split(" ").filter((word) => word !== "")).toEqual(offers);
  });

  it("is what bash asks for `drover`", () => {
    expect(offered[lines.length]).toMatch(/^complete -o default -F _drover drover$/);
  });
});

describe("the other shells", () => {
  it("zsh is offered verbs and flags with their descriptions, and values", async () => {
    const text = await script("zsh");
    expect(text).toMatch(/^#compdef drover\n/);
    expect(text).toMatch(/^ +'agents\|reset'\) at='agents reset' ;;$/m);
    expect(text).toMatch(/^ +'agents'\) offered=\('list:[^']*' 'get:show one agent' /m);
    expect(text).toMatch(/^ +'tokens create\|--role'\) compadd -- 'enrollment' 'operator' .*; return ;;$/m);
    expect(text).toMatch(/^ +'tasks create\|--payload'\) _files; return ;;$/m);
    expect(text).toContain("'--lease:how long a task is lent");
    expect(text.match(/^compdef _drover drover$/gm)).toHaveLength(1);
  });

  it("fish likewise", async () => {
    const text = await script("fish");
    expect(text).toContain("      case 'agents|reset'\n        set at 'agents reset'\n");
    expect(text).toContain(
      String.raw`complete -c drover -n '__drover_at \'agents\'' -f -a 'get' -d 'show one agent'`,
    );
    expect(text).toMatch(
      /^complete .*'tokens create\\'' -l role -x -a 'enrollment operator viewer runner' -d /m,
    );
    expect(text).toMatch(/^complete .*'serve\\'' -l lease -r -d /m);
    // Whatever a description holds, each line is a whole one.
    for (const line of text.split("\n").filter((each) => each.startsWith("complete ")))
      expect(line.replaceAll(/\\./g, "").split("'").length % 2, line).toBe(1);
  });

  it("a shell that nobody knows is refused with those that are known", async () => {
    const { code, stderr } = await runInProcess(["completion", "tcsh"]);
    expect(code).toBe(2);
    expect(stderr).toContain("bash, zsh, fish");
  });
});
