import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A change to one file below src. */
export interface Edit {
  file: string;
  /** Must match exactly once, so that a bug which can no longer be planted is noticed. */
  find: RegExp;
  replace: string;
}

/** A copy of this checkout with bugs in its sources. */
export interface BuggyCheckout {
  root: string;
  remove(): Promise<void>;
}

const repository = fileURLToPath(new URL("../../..", import.meta.url));

/** Copies the sources, changes them, and links the rest. */
export async function plantBug(edits: readonly Edit[]): Promise<BuggyCheckout> {
  const root = await mkdtemp(join(tmpdir(), "drover-planted-"));
  for (const copied of ["src", "bin", "package.json"]) {
    await cp(join(repository, copied), join(root, copied), { recursive: true });
  }
  for (const linked of ["gen", "node_modules"]) await symlink(join(repository, linked), join(root, linked));
  for (const { file, find, replace } of edits) {
    const path = join(root, "src", file);
    const text = await readFile(path, "utf8");
    const places = [...text.matchAll(new RegExp(find, "g"))].length;
    if (places !== 1) throw new Error(`${file} has ${places} places for ${find}`);
    await writeFile(path, text.replace(find, replace));
  }
  return { root, remove: () => rm(root, { recursive: true, force: true }) };
}
