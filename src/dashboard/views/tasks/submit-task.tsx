import { fromJsonString } from "@bufbuild/protobuf";
import { ValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { tasks } from "../../api/clients.ts";
import { Action } from "../../parts/action.tsx";
import { go } from "../../router.ts";

/** A form that makes a task. */
export function SubmitTask({ onDone }: { onDone: () => void }) {
  return (
    <Action label="Submit a task" question="Submit a task" onDone={onDone} run={submit} cancel="Cancel">
      <label class="field">
        <span>Kind</span>
        <input name="kind" required autoComplete="off" spellcheck={false} placeholder="hello" />
      </label>
      <label class="field">
        <span>Payload, any JSON</span>
        <textarea name="payload" rows={5} spellcheck={false} placeholder='{"name": "world"}' />
      </label>
      <div class="field-row">
        <label class="field">
          <span>Priority, 0 to 9</span>
          <input name="priority" type="number" min={0} max={9} defaultValue="5" />
        </label>
        <label class="field">
          <span>Retries</span>
          <input name="retries" type="number" min={0} max={1000} defaultValue="3" />
        </label>
        <label class="field">
          <span>Timeout, s</span>
          <input name="timeout" type="number" min={1} max={2_592_000} placeholder="none" />
        </label>
      </div>
    </Action>
  );
}

async function submit(form: FormData): Promise<string> {
  const text = (name: string): string => String(form.get(name) ?? "").trim();
  const answer = await tasks.createTask({
    kind: text("kind"),
    ...(text("payload") !== "" && { payload: readPayload(text("payload")) }),
    ...(text("priority") !== "" && { priority: Number(text("priority")) }),
    ...(text("retries") !== "" && { maxRetries: Number(text("retries")) }),
    ...(text("timeout") !== "" && { timeout: { seconds: BigInt(text("timeout")) } }),
  });
  if (answer.task !== undefined) go(["tasks", answer.task.id]);
  return "The task was submitted.";
}

function readPayload(text: string) {
  try {
    return fromJsonString(ValueSchema, text);
  } catch {
    throw new ConnectError(
      'the payload is no JSON: texts stand in quotes, such as "world"',
      Code.InvalidArgument,
    );
  }
}
