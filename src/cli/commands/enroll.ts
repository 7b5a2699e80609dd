import { join } from "node:path";
import { type Command, Option } from "commander";
import { newRequestId } from "../api.ts";
import { repeated, repeatedLabel } from "../arguments.ts";
import { orDash } from "../cell-text.ts";
import { apiFor, type ClientFlags, withClientFlags } from "../client-command.ts";
import { Failure } from "../failure.ts";
import { note, printJson, printLine } from "../output.ts";
import type { AgentJson } from "../resources.ts";
import { prepareSecretFile, type SecretFile } from "../secret-file.ts";

interface EnrollFlags extends ClientFlags {
  label?: Record<string, string>;
  capability?: string[];
  nonce?: string;
  out?: string;
  stateDir?: string;
  force?: true;
}

interface EnrollJson {
  agent?: AgentJson;
  secret?: string;
  heartbeatInterval?: string;
}

export function addEnroll(program: Command): void {
  const command = program
    .command("enroll")
    .description("make an agent, by an enrollment token, and print its own token")
    .argument("<name>", "the agent's name, unique in the project")
    .option("--label <key=value>", "a label of the agent; may be repeated", repeatedLabel)
    .option("--capability <capability>", "something the agent can do; may be repeated", repeated)
    .option(
      "--nonce <nonce>",
      "names this enrollment: the same nonce again is the same agent, with a fresh token",
    )
    .option(
      "--out <file>",
      "write the token to this file, readable by its owner alone, instead of printing it",
    )
    .addOption(new Option("--state-dir <dir>", "the same, to agent.token in this folder").conflicts("out"))
    .option("--force", "replace the file if it exists");
  withClientFlags(command).action(enroll);
}

async function enroll(name: string, flags: EnrollFlags): Promise<void> {
  // An operator's token may not enroll; it is not even tried.
  const api = apiFor(flags, "withheld");
  const path = flags.out ?? (flags.stateDir === undefined ? undefined : join(flags.stateDir, "agent.token"));
  const file = path === undefined ? undefined : await prepareSecretFile(path, flags.force === true);
  const nonce = flags.nonce ?? newRequestId();
  try {
    const { text, value } = await api.post<EnrollJson>("/api/v1/agents:enroll", {
      name,
      nonce,
      labels: flags.label,
      capabilities: flags.capability,
    });
    await handOver(value, file, flags.json === true);
    if (flags.json === true) printJson(text);
  } catch (error) {
    throw withWayBack(error, nonce);
  } finally {
    await file?.discard();
  }
}

async function handOver(answer: EnrollJson, file: SecretFile | undefined, json: boolean): Promise<void> {
  const { agent, secret, heartbeatInterval } = answer;
  if (secret === undefined) throw new Failure("INTERNAL", "The answer holds no token.", { kind: "local" });
  await file?.keep(secret);
  if (json) return;
  const shown = file === undefined ? "This is its token, shown this once:" : `Its token is in ${file.path}.`;
  note(`${orDash(agent?.name)} is enrolled, to report every ${orDash(heartbeatInterval)}. ${shown}`);
  if (file === undefined) printLine(secret);
}

/** An agent that may have been made, but whose token did not arrive, is not lost: its nonce brings another. */
function withWayBack(error: unknown, nonce: string): unknown {
  const failure =
    error instanceof Failure ? error : new Failure("UNKNOWN", String(error), { kind: "local" }, error);
  const { origin } = failure;
  if (origin.kind === "server" || (origin.kind === "transport" && !origin.mayHaveArrived)) return failure;
  failure.hint = `To get a token for the same agent, enroll again with --nonce ${nonce}`;
  return failure;
}
