import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { Failure } from "./failure.ts";

/** A file that will hold a secret: made before the secret is asked for, so that no secret is lost to a full or closed disk. */
export interface SecretFile {
  readonly path: string;
  /** Writes the secret; the file appears whole, readable by its owner alone. */
  keep(secret: string): Promise<void>;
  /** Leaves no trace; harmless after `keep`. */
  discard(): Promise<void>;
}

/** Prepares `path`, with its folder; an existing file is replaced only when `replace` says so. */
export async function prepareSecretFile(path: string, replace: boolean): Promise<SecretFile> {
  if (!replace && existsSync(path)) {
    const failure = new Failure("ALREADY_EXISTS", `${path} exists already.`, { kind: "local" });
    failure.hint = "Replace it with --force, or name another file.";
    throw failure;
  }
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  const handle = await openDraft(path, draft);
  return {
    path,
    keep: async (secret) => {
      try {
        await handle.writeFile(`${secret}\n`);
        await handle.sync();
        await handle.close();
        await rename(draft, path);
      } catch (error) {
        throw notWritable(path, error);
      }
    },
    discard: async () => {
      // Both fail after `keep`, which has closed and renamed already.
      await handle.close().catch(() => undefined);
      await rm(draft, { force: true });
    },
  };
}

async function openDraft(path: string, draft: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return await open(draft, "wx", 0o600);
  } catch (error) {
    throw notWritable(path, error);
  }
}

function notWritable(path: string, error: unknown): Failure {
  const code = (error as NodeJS.ErrnoException).code; // node:fs throws nothing else
  return new Failure("UNKNOWN", `${path} cannot be written (${code}).`, { kind: "local" }, error);
}
