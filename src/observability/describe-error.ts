/** An error as the log shows it. */
export interface DescribedError {
  type: string;
  message: string;
  stack: string;
  /** SQLSTATE, or the operating system's code. */
  code?: string;
  /** Names of what a constraint of the database stands on. */
  table?: string;
  constraint?: string;
  /** The statement, without its parameters. */
  query?: string;
  cause?: DescribedError;
}

const DEEPEST_CAUSE = 10;

/**
 * What the log may show of an error. Errors of the database carry what agents sent: the parameters of the statement,
 * also in the message and the stack, and in their detail the row itself. None of that belongs on a disk.
 */
export function describeError(error: unknown, depth = 0): DescribedError {
  if (!(error instanceof Error)) return { type: typeof error, message: String(error), stack: "" };
  const query = textOf(error, "query");
  const message = query === undefined ? error.message : "a statement failed";
  const code = textOf(error, "code");
  const table = textOf(error, "table_name");
  const constraint = textOf(error, "constraint_name");
  return {
    type: error.name,
    message,
    stack: framesOf(error),
    ...(code !== undefined && { code }),
    ...(table !== undefined && { table }),
    ...(constraint !== undefined && { constraint }),
    ...(query !== undefined && { query }),
    ...(error.cause !== undefined &&
      depth < DEEPEST_CAUSE && { cause: describeError(error.cause, depth + 1) }),
  };
}

function textOf(error: Error, name: string): string | undefined {
  const value: unknown = Reflect.get(error, name);
  return typeof value === "string" ? value : undefined;
}

/** The stack without its first lines, which repeat the message. */
function framesOf({ stack = "" }: Error): string {
  return stack
    .split("\n")
    .filter((line) => /^\s+at /.test(line))
    .join("\n");
}
