import type { AgentCaller } from "../identity/caller.ts";
import { findRevokedCallers } from "../identity/confirm-caller.ts";
import { type Db, inTransaction, type Tx } from "../storage/database.ts";
import { DatabaseUnavailable, isGivenUp } from "../storage/database-error.ts";

/** What came of the work of several callers. */
export interface TakenTogether<R> {
  /** Whose tokens were revoked while they waited: nothing was done for them. */
  readonly revoked: ReadonlySet<AgentCaller>;
  /** Undefined where the transaction failed, which may be the fault of any: which one's shows when each is taken alone. */
  readonly result: R | undefined;
}

/** The transaction must not commit what it did for these. */
class Revoked extends Error {
  readonly callers: ReadonlySet<AgentCaller>;

  constructor(callers: ReadonlySet<AgentCaller>) {
    super("tokens were revoked while their calls waited");
    this.callers = callers;
  }
}

/**
 * Does for several callers in one transaction what each would do in its own. Throws UNAVAILABLE where the database cannot
 * be reached, and nothing else.
 */
export async function takeTogether<S extends { readonly caller: AgentCaller }, R>(
  db: Db,
  sent: readonly S[],
  take: (tx: Tx, sent: readonly S[]) => Promise<R>,
): Promise<TakenTogether<R>> {
  const revoked = new Set<AgentCaller>();
  for (;;) {
    const left = sent.filter(({ caller }) => !revoked.has(caller));
    try {
      const result = await inTransaction(db, async (tx) => {
        const taken = await take(tx, left);
        const callers = await findRevokedCallers(
          tx,
          left.map(({ caller }) => caller),
        );
        if (callers.size > 0) throw new Revoked(callers);
        return taken;
      });
      return { revoked, result };
    } catch (error) {
      if (error instanceof Revoked) for (const caller of error.callers) revoked.add(caller);
      else if (isLost(error)) throw error;
      else return { revoked, result: undefined };
    }
  }
}

/** The database is away; what it gave up for a reason of its own may be one caller's fault. */
function isLost(error: unknown): boolean {
  return error instanceof DatabaseUnavailable && !isGivenUp(error);
}
