import { AsyncLocalStorage } from "node:async_hooks";

/** A call that is being served, for the lines of the log that are written meanwhile. */
export interface CallScope {
  /** False once it has ended: what it set off and others go on with is no part of it. */
  readonly isOpen: boolean;
  /** What its lines say; only asked when there is one. */
  fields(): object;
}

const scopes = new AsyncLocalStorage<CallScope | undefined>();

/** Runs `part` as part of a call; of none where undefined, such as what is done for several at once. */
export function inCall<T>(scope: CallScope | undefined, part: () => T): T {
  return scopes.run(scope, part);
}

/** The call that is under way here, for what is done for it elsewhere. */
export function callHere(): CallScope | undefined {
  return scopes.getStore();
}

/** What a line of the log that is written here says of its call. */
export function callFields(): object {
  const scope = scopes.getStore();
  return scope?.isOpen ? scope.fields() : {};
}
