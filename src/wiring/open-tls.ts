import { type Config, SettingError, tlsPathsOf } from "../config.ts";
import { TlsIdentity } from "../doors/tls.ts";
import { TlsFileError } from "../doors/tls-files.ts";
import type { Logger } from "../observability/logger.ts";

/**
 * The TLS identity that the settings name; undefined for cleartext. A SettingError tells which file is no good, and why.
 */
export function openTls(config: Config, logger: Logger): TlsIdentity | undefined {
  const paths = tlsPathsOf(config);
  if (paths === undefined) return undefined;
  try {
    const identity = new TlsIdentity(paths, {
      renewed: (notAfter) => logger.info({ notAfter }, "the TLS certificate was renewed"),
      refused: (error) =>
        logger.error({ err: error }, "new TLS files are no good: the certificate before them stays in use"),
    });
    const { notAfter } = identity;
    // It is no reason to stop: a renewal may be on its way, and a server that runs takes it.
    if (notAfter.getTime() <= Date.now())
      logger.error(
        { notAfter },
        "the TLS certificate has expired: clients refuse it until there is a new one",
      );
    return identity;
  } catch (error) {
    if (error instanceof TlsFileError) throw new SettingError([error.message], error);
    throw error;
  }
}
