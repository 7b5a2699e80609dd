import { open } from "node:fs/promises";
import { TrackerFailure } from "./tracker.ts";

const LONGEST_FILE = 8 * 1024;
/** What may stand in a header; everything else is no credential, whatever the reference names. */
const credentialPattern = /^[\x21-\x7e]{1,4096}$/;

/**
 * The credential behind a reference, `env:NAME` or `file:/path`, read anew each time so that it can be replaced without a
 * restart; undefined for the empty reference. Throws TrackerFailure, in words that hold the reference alone.
 */
export async function readCredential(reference: string): Promise<string | undefined> {
  if (reference === "") return undefined;
  const text = await contentOf(reference);
  // One answer for all that is wrong: it must not tell what a file holds.
  if (text === undefined || !credentialPattern.test(text)) {
    throw new TrackerFailure("refused", `its credential ${reference} is not there, or is no token`);
  }
  return text;
}

async function contentOf(reference: string): Promise<string | undefined> {
  if (reference.startsWith("env:")) return process.env[reference.slice("env:".length)]?.trim();
  if (!reference.startsWith("file:")) return undefined;
  try {
    const file = await open(reference.slice("file:".length), "r");
    try {
      // A pipe or a device would never end.
      if (!(await file.stat()).isFile()) return undefined;
      const { buffer, bytesRead } = await file.read(Buffer.alloc(LONGEST_FILE), 0, LONGEST_FILE, 0);
      return buffer.subarray(0, bytesRead).toString().trim();
    } finally {
      await file.close();
    }
  } catch {
    return undefined;
  }
}
