import { readFileSync } from "node:fs";
import type { DescEnum } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { AgentStatusSchema, CordonSchema, LivenessSchema } from "../../gen/drover/v1/agent_pb.js";
import { SeveritySchema } from "../../gen/drover/v1/error_report_pb.js";
import { TaskStateSchema } from "../../gen/drover/v1/task_pb.js";
import { TokenRoleSchema } from "../../gen/drover/v1/token_service_pb.js";
import { exitCodeMeanings } from "../../src/cli/exit-codes.ts";
import { runDrover } from "../helpers/run-drover.ts";
import { runInProcess } from "../helpers/run-in-process.ts";

const guide = readFileSync(new URL("../../docs/cli.md", import.meta.url), "utf8");

const commands = [
  ["serve"],
  ["db", "migrate"],
  ["doctor"],
  ["enroll"],
  ["agent", "run"],
  ["agents", "list"],
  ["agents", "get"],
  ["agents", "reset"],
  ["agents", "remove"],
  ["agents", "command"],
  ["agents", "cordon"],
  ["agents", "uncordon"],
  ["agents", "drain"],
  ["tasks", "list"],
  ["tasks", "get"],
  ["tasks", "create"],
  ["tasks", "cancel"],
  ["tasks", "retry"],
  ["errors", "list"],
  ["errors", "groups"],
  ["pass", "run"],
  ["runs", "list"],
  ["runs", "get"],
  ["trackers", "list"],
  ["trackers", "get"],
  ["trackers", "create"],
  ["trackers", "update"],
  ["trackers", "delete"],
  ["trackers", "issues"],
  ["watch"],
  ["audit"],
  ["tokens", "list"],
  ["tokens", "create"],
  ["tokens", "get"],
  ["tokens", "revoke"],
  ["tokens", "recover"],
  ["projects", "list"],
  ["projects", "create"],
  ["completion"],
];

describe("help", () => {
  it("names every command and every exit code", async () => {
    const { code, stdout } = await runInProcess(["--help"]);
    expect(code).toBe(0);
    for (const [noun] of commands) expect(stdout).toMatch(new RegExp(`^ {2}${noun} `, "m"));
    for (const [exitCode, meaning] of exitCodeMeanings) expect(stdout).toContain(`  ${exitCode}  ${meaning}`);
  });

  it("is shown, with exit code 2, where no command was given", async () => {
    const ran = await runInProcess([]);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("Usage: drover");
  });

  it.each(commands.map((words) => words.join(" ")))("of drover %s agrees with docs/cli.md", async (name) => {
    const words = name.split(" ");
    const { code, stdout, stderr } = await runInProcess([...words, "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(guide).toContain(`drover ${words.join(" ").replace(/ list$/, "")}`);
    // The flags of serve are the server's settings, which have a table of their own.
    if (["serve", "db", "doctor"].includes(words[0] ?? "")) return;
    for (const [, flag] of stdout.matchAll(/^ {2}(--[a-z-]+)/gm)) expect(guide).toContain(`\`${flag}`);
  });

  it.each<[string[], DescEnum]>([
    [["agents", "list"], AgentStatusSchema],
    [["agents", "list"], LivenessSchema],
    [["agents", "list"], CordonSchema],
    [["tasks", "list"], TaskStateSchema],
    [["errors", "list"], SeveritySchema],
    [["tokens", "list"], TokenRoleSchema],
  ])("of drover %j knows every value of the contract", async (words, { values, sharedPrefix }) => {
    const { stdout } = await runInProcess([...words, "--help"]);
    const names = values.filter(({ number }) => number !== 0).map(({ name }) => name.toLowerCase());
    expect(names.length).toBeGreaterThan(2);
    for (const name of names) expect(stdout).toContain(name.slice((sharedPrefix ?? "").length));
  });
});

describe("commands on the server's machine", () => {
  it("take the server's settings as flags", async () => {
    const { stdout } = await runInProcess(["serve", "--help"]);
    for (const flag of ["--http-addr", "--database-url", "--data-dir"]) expect(stdout).toContain(flag);
    for (const command of [
      ["db", "migrate"],
      ["tokens", "recover"],
    ]) {
      const help = await runInProcess([...command, "--help"]);
      expect(help.stdout).toContain("--database-url");
      expect(help.stdout).not.toContain("--http-addr");
    }
  });

  it("refuse a flag that is no setting, with the nearest that is", async () => {
    const ran = await runInProcess(["serve", "--htp-addr", "127.0.0.1:0"]);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toContain("Did you mean --http-addr?");
  });
});

describe("a setting that the server cannot use", () => {
  it.each(["serve", "db migrate", "tokens recover"])("ends drover %s with 2 and its name", async (name) => {
    const ran = await runInProcess([...name.split(" "), "--database-url", "nonsense"]);
    expect(ran).toMatchObject({ code: 2, stdout: "" });
    expect(ran.stderr).toMatch(/^error: .*DATABASE_URL/);
  });
});

it("docs/cli.md has the table of exit codes", () => {
  for (const [code, meaning] of exitCodeMeanings) expect(guide).toContain(`| ${code} | ${meaning} |`);
});

it("--version prints the package's", async () => {
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  // By the bin itself, which all the rest goes without.
  expect(await runDrover(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
});
