import type { JsonObject } from "@bufbuild/protobuf";
import { comments } from "../../gen/comments.js";
import { describeRoutes } from "../transcoder/openapi.ts";
import type { Route } from "../transcoder/transcoder.ts";
import { constraintsOf } from "./openapi-constraints.ts";
import { examples } from "./openapi-examples.ts";

const DESCRIPTION = `The control plane of a fleet of agents, over HTTP and JSON.

Callers are who their token says. Lists come in pages: ask with \`pageSize\`, go on with \`pageToken\`. Times are RFC 3339
and durations seconds with an \`s\`; numbers of 64 bits are strings. A call can be given a deadline in seconds by the
header \`X-Server-Timeout\`. Streams come as \`application/x-ndjson\`, \`text/event-stream\` or \`application/json\`, as
\`Accept\` says.`;

const BEARER =
  "A token of the server: `drv_agt_…` of an agent, `drv_enr_…` for enrolling, those of operators, viewers and runners alike.";

/** The OpenAPI description of the REST door's routes. */
export function describeApi(routes: readonly Route[]): JsonObject {
  return describeRoutes(routes, {
    title: "Drover",
    version: "v1",
    description: DESCRIPTION,
    bearer: { description: BEARER },
    comment: (name) => comments[name],
    constrain: constraintsOf,
    examples,
  });
}
