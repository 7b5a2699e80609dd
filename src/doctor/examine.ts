import { stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Config, examineConfig } from "../config.ts";
import type { Logger } from "../observability/logger.ts";
import { OPERATOR_TOKEN_FILE } from "../tokens/operator-token.ts";
import { checkDatabase } from "./check-database.ts";
import { checkPorts } from "./check-ports.ts";
import { checkSettings, checkThresholds } from "./check-settings.ts";
import { checkTls } from "./check-tls.ts";
import { error, type Finding, ok, skipped, warning } from "./finding.ts";

/** What is looked at on the server's own machine, and where its settings say that a server would answer. */
export interface Examination {
  readonly findings: Finding[];
  /** Undefined where any port would do. */
  readonly serverUrl: string | undefined;
}

/** Looks at everything on this machine that can keep a server from working; changes nothing. */
export async function examine(
  environment: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string | undefined>>,
  logger: Logger,
): Promise<Examination> {
  // A bad setting must not hide what else is wrong: its default stands in for it.
  const { config: asGiven, problems, clashes, tlsClashes } = examineConfig(environment, flags);
  const config = { ...asGiven, dataDir: resolve(asGiven.dataDir) };
  const rest = await Promise.all([
    checkDatabase(config, logger),
    checkPorts(config),
    checkTls(config, tlsClashes, Date.now()),
    checkOperatorToken(config),
  ]);
  return {
    findings: [...checkSettings(problems, environment), ...checkThresholds(config, clashes), ...rest.flat()],
    serverUrl: serverUrlOf(config),
  };
}

function serverUrlOf({ httpAddress: { host, port }, tlsCert }: Config): string | undefined {
  if (port === 0) return undefined;
  const anywhere = host === "0.0.0.0" || host === "::";
  const name = anywhere ? "127.0.0.1" : host.includes(":") ? `[${host}]` : host;
  return `${tlsCert === undefined ? "http" : "https"}://${name}:${port}`;
}

async function checkOperatorToken({ dataDir }: Config): Promise<Finding> {
  const path = join(dataDir, OPERATOR_TOKEN_FILE);
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) === 0) return ok("operator token", `${path} is there, and its owner's alone.`);
    return warning(
      "operator token",
      `Other users of this machine may read ${path}.`,
      `Run: chmod 600 ${path}`,
    );
  } catch (problem) {
    const { code } = problem as NodeJS.ErrnoException; // node:fs throws nothing else
    if (code === "ENOENT")
      return skipped(
        "operator token",
        `There is no ${path}: the first start of a database writes it, \`drover tokens recover\` a new one.`,
      );
    return error(
      "operator token",
      `${path} cannot be looked at (${code}).`,
      "Run the doctor as the server's user.",
    );
  }
}
