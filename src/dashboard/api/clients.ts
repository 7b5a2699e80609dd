/** The dashboard's only way to the server: the public API over Connect-Web. */
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createConnectTransport } from "@connectrpc/connect-web";
import { EventService } from "../../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../../../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../../../gen/drover/v1/tracker_service_pb.js";
import { hearServerTime } from "../live/clock.ts";
import { project } from "./project.ts";
import { endSession, session } from "./session.ts";

/** How long a call may take, in milliseconds. */
const CALL_TIMEOUT_MS = 20_000;

const authorize: Interceptor = (next) => async (request) => {
  const now = session.value;
  if (now.kind === "signed-in") request.header.set("authorization", `Bearer ${now.token}`);
  if (project.value !== "") request.header.set("x-drover-project", project.value);
  try {
    const answer = await next(request);
    hearServerTime(answer.header.get("date"));
    return answer;
  } catch (error) {
    // Only where the token of this very call is still the one in use: a late answer must not end a newer session.
    if (ConnectError.from(error).code === Code.Unauthenticated && session.value === now)
      endSession("Your session has ended: its token has expired or was revoked. Sign in again to go on.");
    throw error;
  }
};

const transport = createConnectTransport({
  baseUrl: location.origin,
  useBinaryFormat: true,
  interceptors: [authorize],
  defaultTimeoutMs: CALL_TIMEOUT_MS,
});

export const fleet = createClient(FleetService, transport);
export const tasks = createClient(TaskService, transport);
export const events = createClient(EventService, transport);
export const tokens = createClient(TokenService, transport);
export const passes = createClient(PassService, transport);
export const trackers = createClient(TrackerService, transport);
export const projects = createClient(ProjectService, transport);
