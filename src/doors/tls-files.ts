import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";

/** Where the files are; PEM all of them. */
export interface TlsPaths {
  /** The certificate, and below it those that lead to its root. */
  readonly cert: string;
  readonly key: string;
  /** Roots of the certificates that clients must show; undefined asks for none. */
  readonly clientCa: string | undefined;
}

/** What a TLS server is made of, as node:tls takes it. */
export interface TlsMaterial {
  readonly cert: Buffer;
  readonly key: Buffer;
  readonly ca: Buffer | undefined;
  /** When the certificate ends. */
  readonly notAfter: Date;
  /** What is in the files: the certificate and those below it, and the roots for clients. */
  readonly certificates: readonly X509Certificate[];
  readonly clientRoots: readonly X509Certificate[];
}

/** The setting of each file. */
export const TLS_SETTINGS = {
  cert: "DROVER_TLS_CERT",
  key: "DROVER_TLS_KEY",
  clientCa: "DROVER_TLS_CLIENT_CA",
} as const satisfies Record<keyof TlsPaths, string>;

/** A file that no TLS server can be made of; the message is a sentence that names its setting. */
export class TlsFileError extends Error {
  constructor(problem: string, cause?: unknown) {
    super(problem, { cause });
    this.name = "TlsFileError";
  }
}

/** Reads the files and makes sure that they are what they should be and belong together. Throws TlsFileError. */
export function readTlsFiles(paths: TlsPaths): TlsMaterial {
  const cert = read("cert", paths.cert);
  const key = read("key", paths.key);
  const ca = paths.clientCa === undefined ? undefined : read("clientCa", paths.clientCa);
  const certificates = certificatesIn("cert", paths.cert, cert);
  const [leaf] = certificates;
  if (leaf === undefined) throw new TlsFileError(`${TLS_SETTINGS.cert} holds no certificate.`);
  checkKey(paths, key, leaf);
  const clientRoots =
    ca === undefined || paths.clientCa === undefined ? [] : certificatesIn("clientCa", paths.clientCa, ca);
  try {
    createSecureContext({ cert, key, ...(ca !== undefined && { ca }) });
  } catch (error) {
    // What only OpenSSL knows, such as a key too short for its security level.
    throw new TlsFileError(
      `${TLS_SETTINGS.cert} and ${TLS_SETTINGS.key} make no TLS server: ${wordsOf(error)}.`,
      error,
    );
  }
  return { cert, key, ca, notAfter: new Date(leaf.validTo), certificates, clientRoots };
}

function read(file: keyof TlsPaths, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new TlsFileError(`${TLS_SETTINGS[file]} names ${path}, which ${reasonOf(error)}.`, error);
  }
}

function reasonOf(error: unknown): string {
  switch (
    (error as NodeJS.ErrnoException).code // node:fs throws nothing else
  ) {
    case "ENOENT":
      return "does not exist";
    case "EACCES":
      return "this user may not read";
    case "EISDIR":
      return "is a folder";
    default:
      return `cannot be read (${wordsOf(error)})`;
  }
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

function certificatesIn(file: keyof TlsPaths, path: string, bytes: Buffer): X509Certificate[] {
  const blocks = bytes.toString("latin1").match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) {
    throw new TlsFileError(`${TLS_SETTINGS[file]} names ${path}, which holds no certificate in PEM form.`);
  }
  return blocks.map((block) => {
    try {
      return new X509Certificate(block);
    } catch (error) {
      throw new TlsFileError(
        `${TLS_SETTINGS[file]} names ${path}, which holds a certificate that cannot be read.`,
        error,
      );
    }
  });
}

function checkKey({ cert, key: path }: TlsPaths, pem: Buffer, leaf: X509Certificate): void {
  let belongs: boolean;
  try {
    belongs = leaf.checkPrivateKey(createPrivateKey(pem));
  } catch (error) {
    const isEncrypted = /ENCRYPTED/.test(pem.toString("latin1"));
    const problem = isEncrypted
      ? "is encrypted: the server has nobody to ask for its passphrase, so it needs a key without one"
      : "holds no private key in PEM form";
    throw new TlsFileError(`${TLS_SETTINGS.key} names ${path}, which ${problem}.`, error);
  }
  if (!belongs) {
    throw new TlsFileError(
      `${TLS_SETTINGS.key} names ${path}, which is not the key of the certificate in ${TLS_SETTINGS.cert} (${cert}).`,
    );
  }
}

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
