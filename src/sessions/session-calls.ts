import { create, type DescMessage, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type AgentService,
  CompleteTaskRequestSchema,
  FailTaskRequestSchema,
  HeartbeatRequestSchema,
  LeaveRequestSchema,
  ReportErrorRequestSchema,
  SessionCommandAcknowledgementSchema,
  SessionGoodbyeSchema,
  SessionHelloSchema,
  SessionReadySchema,
  type SessionRequest,
  type SessionResponseSchema,
  UpdateTaskRequestSchema,
} from "../../gen/drover/v1/agent_service_pb.js";

/** The calls of AgentService that a stream's messages are; the same functions that answer them when they come alone. */
export type AgentCalls = Pick<
  ServiceImpl<typeof AgentService>,
  "heartbeat" | "reportError" | "updateTask" | "completeTask" | "failTask" | "leave"
>;

/** What an agent says in one message. */
export type Saying = SessionRequest["message"];
/** What it is told. */
export type Answer = NonNullable<MessageInitShape<typeof SessionResponseSchema>["message"]>;

/** The messages that are calls, as opposed to those that are about the stream itself. */
export type CallSaying = Extract<
  Saying,
  { case: "heartbeat" | "error" | "taskUpdate" | "taskComplete" | "taskFail" }
>;

const schemas = {
  hello: SessionHelloSchema,
  heartbeat: HeartbeatRequestSchema,
  error: ReportErrorRequestSchema,
  taskUpdate: UpdateTaskRequestSchema,
  taskComplete: CompleteTaskRequestSchema,
  taskFail: FailTaskRequestSchema,
  ready: SessionReadySchema,
  commandAcknowledgement: SessionCommandAcknowledgementSchema,
  goodbye: SessionGoodbyeSchema,
} satisfies Record<NonNullable<Saying["case"]>, DescMessage>;

/** Checks what a message says by the rule for calls, so that violations are named as in a call of its own. */
export function checkSaying(
  { case: name, value }: Exclude<Saying, { case: undefined }>,
  validate: (schema: DescMessage, message: Message) => void,
): void {
  validate(schemas[name], value);
}

/** Makes the call that a message is. */
export async function makeCall(
  calls: AgentCalls,
  saying: CallSaying,
  context: HandlerContext,
): Promise<Answer> {
  switch (saying.case) {
    case "heartbeat":
      return { case: "heartbeat", value: await calls.heartbeat(saying.value, context) };
    case "error":
      return { case: "error", value: await calls.reportError(saying.value, context) };
    case "taskUpdate":
      return { case: "taskUpdate", value: await calls.updateTask(saying.value, context) };
    case "taskComplete":
      return { case: "taskComplete", value: await calls.completeTask(saying.value, context) };
    case "taskFail":
      return { case: "taskFail", value: await calls.failTask(saying.value, context) };
  }
}

/** Makes the call that a goodbye is. */
export async function leave(calls: AgentCalls, context: HandlerContext): Promise<Answer> {
  await calls.leave(create(LeaveRequestSchema), context);
  return { case: "done", value: {} };
}
