import type { Connection } from "./credentials.ts";
import type { Failure } from "./failure.ts";

/** What a person can do about a refusal that has to do with who asked; undefined where the message says it all. */
export function adviseOn(failure: Failure, connection: Connection): string | undefined {
  if (failure.origin.kind !== "server") return failure.hint;
  switch (failure.status) {
    case "UNAUTHENTICATED":
      return unauthenticated(connection);
    case "PERMISSION_DENIED":
      return denied(connection);
    case "NOT_FOUND":
      return connection.project === undefined ? failure.hint : `The project asked was ${connection.project}.`;
    case "RESOURCE_EXHAUSTED":
    case "UNAVAILABLE":
      return later(failure.origin.retryAfterSeconds) ?? failure.hint;
    default:
      return failure.hint;
  }
}

const WAYS_TO_GET_ONE =
  "An operator makes tokens with `drover tokens create`; on the server's machine `drover tokens recover` writes a new operator token.";

function unauthenticated({ token, looked }: Connection): string {
  if (token === undefined)
    return `No token was sent: none was found in ${looked.join(", ")}. ${WAYS_TO_GET_ONE}`;
  return `The token from ${token.from} was not accepted. ${WAYS_TO_GET_ONE}`;
}

// The role stands in the open part of a token; nothing else of it is ever shown.
const rolesByPrefix: Readonly<Record<string, string>> = {
  agt: "an agent's token",
  run: "a runner's token",
  enr: "an enrollment token",
  opr: "an operator's token",
  vwr: "a viewer's token",
};

function denied({ token, project }: Connection): string {
  const prefix = /^drv_([a-z]{3})_/.exec(token?.token ?? "")?.[1] ?? "";
  const role = Object.hasOwn(rolesByPrefix, prefix) ? rolesByPrefix[prefix] : "a token";
  const used = token === undefined ? "No token was sent." : `The one used is ${role}, from ${token.from}.`;
  if (project === undefined) return used;
  return `${used} Only the server's own operator token may name another project.`;
}

function later(seconds: number | undefined): string | undefined {
  return seconds === undefined ? undefined : `Try again in ${seconds} s.`;
}
