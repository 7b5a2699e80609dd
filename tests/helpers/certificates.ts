// What @peculiar/x509 wants loaded before itself.
import "reflect-metadata";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  BasicConstraintsExtension,
  type GeneralNameType,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const HOUR_MS = 3_600_000;

/** PEM of a certificate and its key. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

export interface IdentityOptions {
  readonly names?: readonly { type: GeneralNameType; value: string }[];
  /** An hour from now when left out. */
  readonly notAfter?: Date;
}

/** A root that signs what a test needs. */
export interface Authority {
  /** PEM of the root itself. */
  readonly ca: string;
  issue(options?: IdentityOptions): Promise<Identity>;
}

/** Names under which tests reach a server. */
export const SERVER_NAMES = [
  { type: "dns", value: "localhost" },
  { type: "ip", value: "127.0.0.1" },
] as const;

export async function createAuthority(name = "test root"): Promise<Authority> {
  const keys = await newKeys();
  const root = await X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: ALGORITHM,
    ...validity(undefined),
    extensions: [new BasicConstraintsExtension(true, 1, true)],
  });
  return {
    ca: root.toString("pem"),
    async issue({ names = SERVER_NAMES, notAfter }: IdentityOptions = {}) {
      const own = await newKeys();
      const certificate = await X509CertificateGenerator.create({
        subject: "CN=test",
        issuer: root.subject,
        publicKey: own.publicKey,
        signingKey: keys.privateKey,
        signingAlgorithm: ALGORITHM,
        ...validity(notAfter),
        extensions: names.length === 0 ? [] : [new SubjectAlternativeNameExtension([...names])],
      });
      return { cert: certificate.toString("pem"), key: await pemOf(own.privateKey) };
    },
  };
}

/** Files of a server's TLS settings in a folder of their own. */
export interface TlsFolder {
  readonly folder: string;
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
  /** Puts another identity in the place of the one before, as a mounted secret is renewed. */
  replace(identity: Identity): Promise<void>;
  remove(): Promise<void>;
}

export async function createTlsFolder(identity: Identity, ca: string): Promise<TlsFolder> {
  const folder = await mkdtemp(join(tmpdir(), "drover-tls-"));
  const paths = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem"), ca: join(folder, "ca.pem") };
  const place = async (path: string, text: string) => {
    await writeFile(`${path}.new`, text);
    await rename(`${path}.new`, path);
  };
  const replace = async ({ cert, key }: Identity) => {
    await place(paths.cert, cert);
    await place(paths.key, key);
  };
  await replace(identity);
  await place(paths.ca, ca);
  return { folder, ...paths, replace, remove: () => rm(folder, { recursive: true, force: true }) };
}

function newKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

function validity(notAfter: Date | undefined): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return { notBefore: new Date(now - 24 * HOUR_MS), notAfter: notAfter ?? new Date(now + HOUR_MS) };
}

async function pemOf(key: CryptoKey): Promise<string> {
  const base64 = Buffer.from(await crypto.subtle.exportKey("pkcs8", key)).toString("base64");
  return `-----BEGIN PRIVATE KEY-----\n${base64.replace(/.{64}/g, "$&\n")}\n-----END PRIVATE KEY-----\n`;
}
