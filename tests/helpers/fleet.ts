import type { MessageInitShape } from "@bufbuild/protobuf";
import { AgentService, type EnrollRequestSchema } from "../../gen/drover/v1/agent_service_pb.js";
import { ProjectService } from "../../gen/drover/v1/project_service_pb.js";
import {
  type CreateTokenRequestSchema,
  TokenRole,
  TokenService,
} from "../../gen/drover/v1/token_service_pb.js";
import { messageOf } from "./door-client.ts";
import type { DoorSuite } from "./door-suite.ts";

let count = 0;

/** A name that no other call in this process gives, and that begins no other. */
export function uniqueName(stem: string): string {
  count += 1;
  return `${stem}-${String(count).padStart(5, "0")}`;
}

export interface TestProject {
  name: string;
  /** Token of an operator of this project alone. */
  operator: string;
}

/** Makes a project with an operator of its own. */
export async function newProject({ anyDoor, server }: DoorSuite): Promise<TestProject> {
  const name = uniqueName("project");
  const token = server.operatorToken;
  messageOf(await anyDoor.call(ProjectService.method.createProject, { name }, { token }));
  const headers = { "x-drover-project": name };
  const made = await anyDoor.call(
    TokenService.method.createToken,
    { role: TokenRole.OPERATOR },
    { token, headers },
  );
  return { name, operator: messageOf(made).secret };
}

/** Mints a token as the given operator, by default the server's in the default project. */
export async function newToken(
  { anyDoor, server }: DoorSuite,
  wish: MessageInitShape<typeof CreateTokenRequestSchema>,
  operator = server.operatorToken,
): Promise<{ id: string; secret: string }> {
  const { token, secret } = messageOf(
    await anyDoor.call(TokenService.method.createToken, wish, { token: operator }),
  );
  return { id: token?.id ?? "", secret };
}

export interface TestAgent {
  name: string;
  id: string;
  token: string;
  /** The token that enrolled it, now used up. */
  enrollment: string;
}

/** Enrolls an agent under a fresh name, by default in the default project. */
export async function newAgent(
  suite: DoorSuite,
  wish: Omit<MessageInitShape<typeof EnrollRequestSchema>, "$typeName"> = {},
  operator = suite.server.operatorToken,
): Promise<TestAgent> {
  const { secret: enrollment } = await newToken(suite, { role: TokenRole.ENROLLMENT }, operator);
  const request = { name: uniqueName("agent"), ...wish };
  const { agent, secret } = messageOf(
    await suite.anyDoor.call(AgentService.method.enroll, request, { token: enrollment }),
  );
  return { name: agent?.name ?? "", id: agent?.id ?? "", token: secret, enrollment };
}
