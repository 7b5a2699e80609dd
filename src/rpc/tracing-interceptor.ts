import { Code, ConnectError, type Interceptor, type UnaryRequest } from "@connectrpc/connect";
import type { Attributes } from "@opentelemetry/api";
import { peerKey } from "../doors/door.ts";
import { callerKey } from "../identity/caller.ts";
import type { Tracing, Work } from "../observability/tracing.ts";
import { codeNames, isServersFault } from "../runtime/code-name.ts";
import { formatId } from "../runtime/resource-id.ts";
import type { CallEnd } from "./call-metrics.ts";

/** Makes a span of every call. It comes before all others, so that it sees how they end one. */
export function createTracingInterceptor(tracing: Tracing): Interceptor {
  return (next) => async (request) => {
    const method = `${request.service.typeName}/${request.method.name}`;
    const { contextValues } = request;
    const work = tracing.beginCall(
      method,
      { "rpc.method": method, "drover.door": contextValues.get(peerKey).door },
      request.header,
    );
    const end = (code: CallEnd) => {
      work.note({ ...callerAttributes(contextValues), "rpc.response.status_code": codeNames[code] });
      work.end(isServersFault(code));
    };
    try {
      const response = await work.run(() => next(request));
      if (response.stream) return { ...response, message: traceStream(response.message, work, end) };
      end("ok");
      return response;
    } catch (error) {
      end(ConnectError.from(error).code);
      throw error;
    }
  };
}

/** Who called, by ids alone. */
function callerAttributes(values: UnaryRequest["contextValues"]): Attributes {
  const caller = values.get(callerKey);
  if (caller === undefined) return {};
  return {
    "drover.role": caller.role,
    "drover.project.id": formatId("project", caller.projectId),
    ...(caller.role === "agent" && { "drover.agent.id": formatId("agent", caller.agentId) }),
  };
}

function traceStream<T>(
  messages: AsyncIterable<T>,
  work: Work,
  end: (code: CallEnd) => void,
): AsyncIterable<T> {
  let isOver = false;
  const endOnce = (code: CallEnd) => {
    if (!isOver) end(code);
    isOver = true;
  };
  const hear = (result: IteratorResult<T>): IteratorResult<T> => {
    if (result.done) endOnce("ok");
    else work.close();
    return result;
  };
  const rethrow = (error: unknown): never => {
    endOnce(ConnectError.from(error).code);
    throw error;
  };
  return {
    [Symbol.asyncIterator]() {
      const source = messages[Symbol.asyncIterator]();
      return {
        next: () => work.run(() => source.next()).then(hear, rethrow),
        async return() {
          // Whoever read the messages went away.
          endOnce(Code.Canceled);
          await source.return?.();
          return { done: true, value: undefined };
        },
      };
    },
  };
}
