import { type DescMessage, type DescMethod, getOption, hasOption } from "@bufbuild/protobuf";
import { AgentService } from "../../gen/drover/v1/agent_service_pb.js";
import { EventService } from "../../gen/drover/v1/event_service_pb.js";
import { FleetService } from "../../gen/drover/v1/fleet_service_pb.js";
import { PassService } from "../../gen/drover/v1/pass_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import { TaskService } from "../../gen/drover/v1/task_service_pb.js";
import { TokenService } from "../../gen/drover/v1/token_service_pb.js";
import { TrackerService } from "../../gen/drover/v1/tracker_service_pb.js";
import { http } from "../../gen/google/api/annotations_pb.js";

interface Route {
  method: string;
  path: RegExp;
  input: DescMessage;
}

const services = [
  AgentService,
  EventService,
  FleetService,
  PassService,
  ProjectService,
  TaskService,
  TokenService,
  TrackerService,
];
const routes = services.flatMap((service) =>
  service.methods.filter((rpc) => hasOption(rpc, http)).map(routeOf),
);

function routeOf(rpc: DescMethod): Route {
  const { pattern } = getOption(rpc, http);
  if (typeof pattern.value !== "string") throw new Error(`${rpc.name} has no plain path`);
  const escaped = pattern.value.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  const path = new RegExp(`^${escaped.replace(/\{\w+\}/g, "[^/:]+")}$`);
  return { method: (pattern.case ?? "").toUpperCase(), path, input: rpc.input };
}

/** What is wrong with a call as the contract's annotations have it; undefined if nothing. */
export function breachOfContract(
  method: string,
  path: string,
  fields: readonly string[],
): string | undefined {
  const route = routes.find((one) => one.method === method && one.path.test(path));
  if (route === undefined) return `no RPC at ${method} ${path}`;
  const known = new Set(route.input.fields.map(({ jsonName }) => jsonName));
  const unknown = fields.filter((field) => !known.has(field));
  return unknown.length === 0 ? undefined : `${route.input.typeName} has no ${unknown.join(", ")}`;
}
