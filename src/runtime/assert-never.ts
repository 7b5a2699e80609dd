/** Ends a switch over a union: it compiles only while every member has its case. */
export function assertNever(value: never): never {
  throw new Error(`a case is missing for ${JSON.stringify(value)}`);
}
