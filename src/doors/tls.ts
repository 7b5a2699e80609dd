import { stat } from "node:fs/promises";
import type { SecureContextOptions } from "node:tls";
import { Periodic } from "../runtime/periodic.ts";
import type { Service } from "../runtime/service.ts";
import { readTlsFiles, type TlsMaterial, type TlsPaths } from "./tls-files.ts";

/** What is told of certificates while the server runs. */
export interface TlsListener {
  renewed(notAfter: Date): void;
  /** New files were no good: the ones before stay in use, and the files are looked at again when they change. */
  refused(error: unknown): void;
}

/** Files are looked at this often; one stat each. */
const LOOK_EVERY_MS = 1_000;

/**
 * The server's TLS identity, read from files and read again when they change. It polls, because a mounted secret is
 * renewed by swapping a link that a file watcher does not see.
 */
export class TlsIdentity implements Service {
  /** Whether clients must show a certificate. */
  readonly wantsClientCertificate: boolean;
  readonly #paths: TlsPaths;
  readonly #listener: TlsListener;
  readonly #looks: Periodic;
  readonly #onRenewal: ((options: SecureContextOptions) => void)[] = [];
  #material: TlsMaterial;
  /** The files as they were when they were read last, and as they were at the last look. */
  #read: string | undefined;
  #seen: string | undefined;

  /** Throws TlsFileError where the files are no good. */
  constructor(paths: TlsPaths, listener: TlsListener) {
    this.#paths = paths;
    this.#listener = listener;
    this.#material = readTlsFiles(paths);
    this.wantsClientCertificate = paths.clientCa !== undefined;
    this.#looks = new Periodic(
      LOOK_EVERY_MS,
      () => this.#look(),
      (error) => listener.refused(error),
    );
  }

  get notAfter(): Date {
    return this.#material.notAfter;
  }

  /** For a TLS server; nothing below TLS 1.2. */
  get options(): SecureContextOptions {
    const { cert, key, ca } = this.#material;
    return { cert, key, ...(ca !== undefined && { ca }), minVersion: "TLSv1.2" };
  }

  /** Calls back with what new connections are to get from now on. */
  onRenewal(renew: (options: SecureContextOptions) => void): void {
    this.#onRenewal.push(renew);
  }

  start(): Promise<void> {
    return this.#looks.start();
  }

  stop(): Promise<void> {
    return this.#looks.stop();
  }

  async #look(): Promise<void> {
    const now = await fingerprintOf(this.#paths);
    this.#read ??= now;
    const settled = now === this.#seen;
    this.#seen = now;
    // A certificate and its key are two files: they are read once nobody has written to either for a whole look.
    if (!settled || now === this.#read) return;
    this.#read = now;
    try {
      this.#material = readTlsFiles(this.#paths);
      for (const renew of this.#onRenewal) renew(this.options);
      this.#listener.renewed(this.notAfter);
    } catch (error) {
      this.#listener.refused(error);
    }
  }
}

/** Changes whenever one of the files does, or is replaced, or goes. */
async function fingerprintOf({ cert, key, clientCa }: TlsPaths): Promise<string> {
  const paths = [cert, key, ...(clientCa === undefined ? [] : [clientCa])];
  const marks = paths.map((path) =>
    stat(path, { bigint: true }).then(
      ({ ino, size, mtimeNs }) => `${ino} ${size} ${mtimeNs}`,
      () => "gone",
    ),
  );
  return (await Promise.all(marks)).join();
}
