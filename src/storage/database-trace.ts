/** Hears of a statement when it is asked for; what it returns hears of its end, with the error if it failed. */
export type BeginStatement = (text: string) => ((error?: unknown) => void) | undefined;

/** Hears of what is asked of the database, and by whom. */
export interface DatabaseTrace {
  readonly beginStatement: BeginStatement;
  /** Runs a transaction, from the wait for its connection to its end. */
  transaction<T>(run: () => Promise<T>): Promise<T>;
}
