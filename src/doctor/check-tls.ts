import type { X509Certificate } from "node:crypto";
import { type Config, tlsPathsOf } from "../config.ts";
import { readTlsFiles, TLS_SETTINGS, TlsFileError } from "../doors/tls-files.ts";
import { error, type Finding, ok, skipped, warning } from "./finding.ts";

const DAY_MS = 86_400_000;
/** Certificates that are renewed by themselves are renewed before that. */
const SOON_MS = 14 * DAY_MS;

/**
 * The files of the server's TLS identity and their dates; `nowMs` is this machine's time, and `clashes` says which of the
 * settings lack another one.
 */
export function checkTls(config: Config, clashes: readonly string[], nowMs: number): Finding[] {
  if (clashes.length > 0)
    return clashes.map((clash) => error("tls", clash, "Set what is missing, or leave out what needs it."));
  const paths = tlsPathsOf(config);
  if (paths === undefined) return [checkCleartext(config)];
  try {
    const { certificates, clientRoots } = readTlsFiles(paths);
    return [
      ...certificates.map((one) => describeDates(TLS_SETTINGS.cert, one, nowMs)),
      ...clientRoots.map((one) => describeDates(TLS_SETTINGS.clientCa, one, nowMs)),
    ];
  } catch (problem) {
    if (!(problem instanceof TlsFileError)) throw problem;
    return [error("tls", problem.message, "Put a good file there, or name another one.")];
  }
}

function describeDates(setting: string, certificate: X509Certificate, nowMs: number): Finding {
  const { subject, validFromDate, validToDate } = certificate;
  const what = `${setting}: the certificate of ${subject.replaceAll("\n", ", ") || "nobody by name"}`;
  const renew = "Renew it: a running server takes new files by itself.";
  const until = validToDate.toISOString();
  if (validFromDate.getTime() > nowMs)
    return error(
      "tls",
      `${what} is good from ${validFromDate.toISOString()} on only.`,
      "Check this machine's clock.",
    );
  if (validToDate.getTime() <= nowMs) return error("tls", `${what} ended at ${until}.`, renew);
  const days = Math.floor((validToDate.getTime() - nowMs) / DAY_MS);
  if (validToDate.getTime() - nowMs < SOON_MS)
    return warning("tls", `${what} ends at ${until}, in ${days} ${days === 1 ? "day" : "days"}.`, renew);
  return ok("tls", `${what} is good until ${until}.`);
}

function checkCleartext({ httpAddress, grpcAddress }: Config): Finding {
  const open = [httpAddress, grpcAddress].filter(({ host }) => !/^(localhost|::1|127\..*)$/.test(host));
  if (open.length === 0) return skipped("tls", "No TLS, and both ports are for this machine alone.");
  return warning(
    "tls",
    "Other machines reach the server without TLS: whoever listens on the way can read every token.",
    "Set DROVER_TLS_CERT and DROVER_TLS_KEY, or let nothing but a proxy that speaks TLS reach it.",
  );
}
