import { createHash, randomBytes } from "node:crypto";

/** How long a code lives, in milliseconds. */
const CODE_LIFE_MS = 15 * 60_000;
const CODE_BYTES = 24;
/** More than anybody needs at a time; the oldest one goes first. */
const MOST_CODES = 16;

/**
 * Codes that stand for signing in to one project once, within a quarter of an hour. They live in this process alone:
 * one that is lost with it was good for minutes, and a new one is a restart away. Only hashes are kept.
 */
export class SignInCodes {
  readonly #kept = new Map<string, { projectId: string; endsAtMs: number }>();
  readonly #nowMs: () => number;

  /** `nowMs` reads a monotonic clock, in milliseconds. */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  mint(projectId: string): string {
    const code = randomBytes(CODE_BYTES).toString("base64url");
    this.#kept.set(hashOf(code), { projectId, endsAtMs: this.#nowMs() + CODE_LIFE_MS });
    const [oldest] = this.#kept.keys();
    if (this.#kept.size > MOST_CODES && oldest !== undefined) this.#kept.delete(oldest);
    return code;
  }

  /** The project that a code signs in to; undefined for one that never was, was taken before or has ended. */
  take(code: string): string | undefined {
    const hash = hashOf(code);
    const found = this.#kept.get(hash);
    this.#kept.delete(hash);
    return found !== undefined && this.#nowMs() < found.endsAtMs ? found.projectId : undefined;
  }
}

// Looking up the hash tells by its time nothing that would help to guess the code.
function hashOf(code: string): string {
  return createHash("sha256").update(code).digest("base64");
}
