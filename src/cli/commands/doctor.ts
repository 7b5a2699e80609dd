import type { Command } from "commander";
import { checkServers } from "../check-server.ts";
import { type ClientFlags, withClientFlags } from "../client-command.ts";
import { resolveConnection } from "../credentials.ts";
import { ExitCode } from "../exit-codes.ts";
import { printJson, printLine, printSentences } from "../output.ts";
import { serverCommand } from "../server-command.ts";
import type { Finding, FlagValues } from "../server-entry.ts";
import type { Column, Tone } from "../table.ts";

export function addDoctor(program: Command): void {
  serverCommand(program.command("doctor"), {
    name: "drover doctor",
    description: "look for what is wrong on the server's machine, or with the server that --url names",
    takes: () => true,
    flags: (full) => withClientFlags(full, [10_000, "10s"]),
    run: async (entry, values, full) => {
      const flags = full.opts<ClientFlags>();
      const { findings, serverUrl } = await entry.examine(values);
      const all = [...findings, ...(await checkNamedServers(flags, values, serverUrl))];
      if (flags.json === true) printJson(asJson(all));
      else print(all);
      if (all.some(({ state }) => state === "error")) process.exitCode = ExitCode.failure;
    },
  });
}

/** The servers that flags or environment name, otherwise the one that the settings would start. */
async function checkNamedServers(
  flags: ClientFlags,
  values: FlagValues,
  serverUrl: string | undefined,
): Promise<Finding[]> {
  const named = flags.url !== undefined || (process.env.DROVER_URL ?? "") !== "";
  if (!named && serverUrl === undefined)
    return [
      { check: "server", state: "skipped", message: "Nobody named a server: --url or DROVER_URL does." },
    ];
  const dataDir = values["data-dir"];
  const environment = dataDir === undefined ? process.env : { ...process.env, DROVER_DATA_DIR: dataDir };
  const where = named || serverUrl === undefined ? flags : { ...flags, url: [serverUrl] };
  const connection = resolveConnection(where, environment);
  return await checkServers({ connection, timeoutMs: flags.timeout, named });
}

function asJson(findings: readonly Finding[]): string {
  const ok = findings.every(({ state }) => state !== "error");
  return JSON.stringify({ ok, findings });
}

const tones: Record<Finding["state"], Tone> = {
  ok: "good",
  skipped: "quiet",
  warning: "warning",
  error: "bad",
};

/** A cure stands in a row of its own, below what it is for. */
interface Row {
  state: Finding["state"] | "";
  check: string;
  text: string;
}

const columns: readonly Column<Row>[] = [
  {
    heading: "STATE",
    text: ({ state }) => state,
    tone: ({ state }) => (state === "" ? undefined : tones[state]),
  },
  { heading: "CHECK", text: ({ check }) => check },
  { heading: "WHAT WAS FOUND", text: ({ text }) => text },
];

function print(findings: readonly Finding[]): void {
  const rows = findings.flatMap(({ state, check, message, cure }): Row[] => [
    { state, check, text: message },
    ...(cure === undefined ? [] : [{ state: "" as const, check: "", text: `→ ${cure}` }]),
  ]);
  printSentences(columns, rows);
  const count = (wanted: Finding["state"]) => findings.filter(({ state }) => state === wanted).length;
  const [errors, warnings] = [count("error"), count("warning")];
  const many = (number: number, noun: string) => `${number} ${noun}${number === 1 ? "" : "s"}`;
  printLine(
    errors + warnings === 0 ? "Nothing is wrong." : `${many(errors, "error")}, ${many(warnings, "warning")}.`,
  );
}
