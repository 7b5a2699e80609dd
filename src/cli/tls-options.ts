import { readFileSync } from "node:fs";
import { usageFailure } from "./failure.ts";

/** What a client needs of TLS besides the roots that Node knows; texts are PEM. */
export interface TlsOptions {
  ca?: string;
  cert?: string;
  key?: string;
}

export interface TlsFlags {
  ca?: string;
  clientCert?: string;
  clientKey?: string;
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Reads the files that flags or environment name; undefined when they name none. */
export function readTlsOptions(flags: TlsFlags, environment: Environment): TlsOptions | undefined {
  const ca = read(flags.ca, "--ca", environment, "DROVER_CA");
  const cert = read(flags.clientCert, "--client-cert", environment, "DROVER_CLIENT_CERT");
  const key = read(flags.clientKey, "--client-key", environment, "DROVER_CLIENT_KEY");
  if ((cert === undefined) !== (key === undefined))
    throw usageFailure("A client certificate and its key go together: --client-cert and --client-key.");
  if (ca === undefined && cert === undefined) return undefined;
  return { ...(ca !== undefined && { ca }), ...(cert !== undefined && key !== undefined && { cert, key }) };
}

function read(
  flag: string | undefined,
  flagName: string,
  environment: Environment,
  variable: string,
): string | undefined {
  const path = flag ?? (environment[variable] || undefined);
  if (path === undefined) return undefined;
  const named = flag === undefined ? variable : flagName;
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException; // node:fs throws nothing else
    throw usageFailure(`${named} names ${path}, which cannot be read (${code}).`);
  }
  if (!text.includes("-----BEGIN ")) throw usageFailure(`${named} names ${path}, which is no PEM file.`);
  return text;
}
