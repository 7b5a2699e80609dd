import { type Agent, AgentStatus, Cordon } from "../../../../gen/drover/v1/agent_pb.js";
import { fleet } from "../../api/clients.ts";
import { readFleet } from "../../live/fleet-poll.ts";
import { Action } from "../../parts/action.tsx";
import { go } from "../../router.ts";

const newRequestId = (): string => `dashboard-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;

/** What an operator can do to an agent; each is asked for once more before it is done. */
export function AgentActions({ agent, onDone }: { agent: Agent; onDone: () => void }) {
  const { name } = agent;
  const done = () => {
    onDone();
    void readFleet();
  };
  return (
    <div class="actions">
      <CordonActions agent={agent} onDone={done} />
      <Action
        label="Reset"
        question={`Reset ${name}?`}
        disabled={agent.status === AgentStatus.ERROR ? undefined : "Only an agent in error can be reset"}
        onDone={done}
        run={async () => {
          await fleet.resetAgent({ agent: name, requestId: newRequestId() });
          return `${name} is online again.`;
        }}
      >
        <p>
          It leaves its error and counts as online, and may take tasks again. Its next heartbeat may say
          otherwise.
        </p>
      </Action>
      <Action
        label="Rotate token"
        question={`Have ${name} rotate its token?`}
        onDone={done}
        run={async () => {
          await fleet.sendCommand({ agent: name, kind: "rotateToken", requestId: newRequestId() });
          return `${name} is told to rotate its token.`;
        }}
      >
        <p>
          The agent asks for a new token and uses it; the one it has now ends with the new one's first use.
        </p>
      </Action>
      <Action
        label="Remove"
        question={`Remove ${name} for good?`}
        danger
        onDone={() => {
          void readFleet();
          go(["fleet"]);
        }}
        run={async () => {
          await fleet.removeAgent({ agent: name, requestId: newRequestId() });
          return `${name} was removed.`;
        }}
      >
        <p>
          Its tokens are revoked, its streams end and its tasks go back to the queue, all at once. Its errors
          and audit entries stay under its id, and its name may be enrolled again.
        </p>
      </Action>
    </div>
  );
}

function CordonActions({ agent, onDone }: { agent: Agent; onDone: () => void }) {
  const { name } = agent;
  if (agent.cordon === Cordon.CORDONED || agent.cordon === Cordon.DRAINING) {
    return (
      <Action
        label="Uncordon"
        question={`Give ${name} tasks again?`}
        onDone={onDone}
        run={async (form) => {
          await fleet.uncordonAgent({ agent: name, reason: reasonIn(form), requestId: newRequestId() });
          return `${name} may take tasks again.`;
        }}
      >
        <p>
          {agent.cordonReason === ""
            ? "It gets no new tasks now."
            : `It gets none now: ${agent.cordonReason}.`}
        </p>
        <Reason />
      </Action>
    );
  }
  return (
    <>
      <Action
        label="Cordon"
        question={`Give ${name} nothing new?`}
        onDone={onDone}
        run={async (form) => {
          await fleet.cordonAgent({ agent: name, reason: reasonIn(form), requestId: newRequestId() });
          return `${name} is cordoned.`;
        }}
      >
        <p>It keeps what it has and gets no new tasks until it is uncordoned.</p>
        <Reason />
      </Action>
      <Action
        label="Drain"
        question={`Drain ${name}?`}
        onDone={onDone}
        run={async (form) => {
          const seconds = String(form.get("deadline") ?? "").trim();
          await fleet.drainAgent({
            agent: name,
            reason: reasonIn(form),
            requestId: newRequestId(),
            ...(seconds !== "" && { deadline: { seconds: BigInt(seconds) } }),
          });
          return `${name} finishes what it holds.`;
        }}
      >
        <p>
          It finishes what it holds and gets nothing new. At the deadline the rest goes back, and it is
          cordoned.
        </p>
        <label class="field">
          <span>Deadline in seconds; empty: as long as its work takes</span>
          <input name="deadline" type="number" min={1} max={2_592_000} />
        </label>
        <Reason />
      </Action>
    </>
  );
}

function Reason() {
  return (
    <label class="field">
      <span>Reason, for the audit log</span>
      <input name="reason" maxLength={1024} autoComplete="off" />
    </label>
  );
}

const reasonIn = (form: FormData): string => String(form.get("reason") ?? "").trim();
