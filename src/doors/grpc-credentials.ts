import type { SecureContextOptions } from "node:tls";
import { ServerCredentials } from "@grpc/grpc-js";
import type { TlsIdentity } from "./tls.ts";

const HANDSHAKE_TIMEOUT_MS = 10_000;

/** What grpc-js keeps of its credentials for itself; its version is pinned, and tests/doors fails without it. */
interface Renewable {
  updateSecureContextOptions(options: SecureContextOptions & { handshakeTimeout: number }): void;
}

/** The native port's credentials, which follow the identity when its certificate is renewed. */
export function grpcCredentialsOf(tls: TlsIdentity | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  // Of what it is made with, only the demand for a certificate stays: all else is replaced before the port is bound.
  const credentials = ServerCredentials.createSsl(null, [], tls.wantsClientCertificate);
  const renewable = credentials as unknown as Renewable;
  const renew = (options: SecureContextOptions) =>
    renewable.updateSecureContextOptions({ ...options, handshakeTimeout: HANDSHAKE_TIMEOUT_MS });
  renew(tls.options);
  tls.onRenewal(renew);
  return credentials;
}
