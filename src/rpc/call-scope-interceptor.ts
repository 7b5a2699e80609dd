import type { Interceptor, StreamRequest, UnaryRequest } from "@connectrpc/connect";
import { requestIdKey } from "../doors/request-id.ts";
import { callerKey } from "../identity/caller.ts";
import { type CallScope, inCall } from "../observability/call-scope.ts";
import { formatId, parseId } from "../runtime/resource-id.ts";

/** Lets the log name the call in each line that is written while it is served. It comes before all others. */
export function createCallScopeInterceptor(): Interceptor {
  return (next) => async (request) => {
    const scope = new RpcScope(request);
    const response = await inCall(scope, () => next(request));
    return response.stream ? { ...response, message: iterateIn(scope, response.message) } : response;
  };
}

class RpcScope implements CallScope {
  readonly #request: UnaryRequest | StreamRequest;

  constructor(request: UnaryRequest | StreamRequest) {
    this.#request = request;
  }

  get isOpen(): boolean {
    return !this.#request.signal.aborted;
  }

  fields(): object {
    const { contextValues, stream, message } = this.#request;
    const caller = contextValues.get(callerKey);
    const task = stream ? undefined : taskIn(message);
    return {
      requestId: contextValues.get(requestIdKey),
      ...(caller?.role === "agent" && { agentId: formatId("agent", caller.agentId) }),
      ...(task !== undefined && { task }),
    };
  }
}

/** The task that a request is about, where it is an id: whatever else a caller wrote there is no matter of the log. */
function taskIn(message: object): string | undefined {
  const { task, taskId, currentTask } = message as Record<string, unknown>; // any request; what it has is looked at
  const [id] = [
    task,
    taskId,
    typeof currentTask === "object" && currentTask && Reflect.get(currentTask, "taskId"),
  ].filter((one): one is string => typeof one === "string");
  return id !== undefined && parseId("task", id) !== undefined ? id : undefined;
}

/** A stream's handler goes on whenever its next message is asked for. */
function iterateIn<T>(scope: CallScope, messages: AsyncIterable<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator]() {
      const source = messages[Symbol.asyncIterator]();
      return {
        next: () => inCall(scope, () => source.next()),
        return: async () => {
          await inCall(scope, () => source.return?.());
          return { done: true, value: undefined };
        },
      };
    },
  };
}
