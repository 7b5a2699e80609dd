import type { Credentials } from "./credential-store.ts";
import type { TokenUsed } from "./plan-reconnect.ts";
import type { FromSession } from "./thread-messages.ts";

/**
 * The agent's tokens during a session. A renewed token is used only after the store has it, and the one before is
 * kept until the server has accepted the new one.
 */
export class TokenSlots {
  readonly #tell: (message: FromSession) => void;
  #current: string;
  #renewed: string | undefined;
  #renewedWorks = true;
  #storing: { call: number; token: string; done: (stored: boolean) => void } | undefined;
  #lastCall = 0;

  constructor({ current, renewed }: Credentials, tell: (message: FromSession) => void) {
    this.#current = current;
    this.#renewed = renewed;
    this.#tell = tell;
  }

  /** The token to use next. */
  get best(): { readonly token: string; readonly used: TokenUsed } {
    if (this.#renewed !== undefined && this.#renewedWorks) return { token: this.#renewed, used: "renewed" };
    return { token: this.#current, used: "current" };
  }

  /** Has a renewed token stored; true once it may be used. */
  offer(token: string): Promise<boolean> {
    if (this.#storing !== undefined || token === this.#renewed || token === this.#current)
      return Promise.resolve(false);
    this.#lastCall += 1;
    const call = this.#lastCall;
    return new Promise((done) => {
      this.#storing = { call, token, done };
      this.#tell({ kind: "keepToken", call, token });
    });
  }

  /** The store's word on what it was given. */
  stored(call: number, problem: string | undefined): void {
    const storing = this.#storing;
    if (storing?.call !== call) return;
    this.#storing = undefined;
    if (problem === undefined) {
      this.#renewed = storing.token;
      this.#renewedWorks = true;
    } else {
      this.#tell({ kind: "notice", text: `The renewed token was not stored and is not used: ${problem}` });
    }
    storing.done(problem === undefined);
  }

  /** The server has accepted this token. */
  accepted(used: TokenUsed): void {
    if (used === "current" || this.#renewed === undefined) return;
    this.#current = this.#renewed;
    this.#renewed = undefined;
    this.#tell({ kind: "promoteToken" });
  }

  /** The server does not accept the renewed token. */
  renewedRefused(): void {
    this.#renewedWorks = false;
  }
}
