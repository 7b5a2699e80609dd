/** What a script can tell from the end of a command; docs/cli.md and `drover --help` show the same table. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  usage: 2,
  denied: 3,
  notFound: 4,
  conflict: 5,
  unreachable: 6,
  exhausted: 7,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Each exit code with its meaning, in order. */
export const exitCodeMeanings: readonly (readonly [ExitCode, string])[] = [
  [ExitCode.ok, "done"],
  [ExitCode.failure, "failed, or something unexpected happened"],
  [ExitCode.usage, "wrong usage, or an invalid argument"],
  [ExitCode.denied, "no token, one that is not accepted, or one that may not do this"],
  [ExitCode.notFound, "what was named does not exist"],
  [ExitCode.conflict, "it exists already, or its state does not allow this"],
  [ExitCode.unreachable, "no server answers, it is not available, or it took too long"],
  [ExitCode.exhausted, "a limit was reached; try again later"],
];

const exitCodes = {
  CANCELLED: ExitCode.failure,
  UNKNOWN: ExitCode.failure,
  INVALID_ARGUMENT: ExitCode.usage,
  DEADLINE_EXCEEDED: ExitCode.unreachable,
  NOT_FOUND: ExitCode.notFound,
  ALREADY_EXISTS: ExitCode.conflict,
  PERMISSION_DENIED: ExitCode.denied,
  RESOURCE_EXHAUSTED: ExitCode.exhausted,
  FAILED_PRECONDITION: ExitCode.conflict,
  ABORTED: ExitCode.conflict,
  OUT_OF_RANGE: ExitCode.usage,
  UNIMPLEMENTED: ExitCode.failure,
  INTERNAL: ExitCode.failure,
  UNAVAILABLE: ExitCode.unreachable,
  DATA_LOSS: ExitCode.failure,
  UNAUTHENTICATED: ExitCode.denied,
} as const satisfies Record<string, ExitCode>;

/** The name of a code of google.rpc.Code, as the `status` of a REST error spells it. */
export type StatusName = keyof typeof exitCodes;

export function isStatusName(value: unknown): value is StatusName {
  return typeof value === "string" && Object.hasOwn(exitCodes, value);
}

export function exitCodeOf(status: StatusName): ExitCode {
  return exitCodes[status];
}
