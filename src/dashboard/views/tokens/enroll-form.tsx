import { useSignal } from "@preact/signals";
import { TokenRole } from "../../../../gen/drover/v1/token_service_pb.js";
import { tokens } from "../../api/clients.ts";
import { sentenceOf } from "../../api/failure.ts";
import { Command } from "../../parts/copy.tsx";
import { enrollCommand, type Way, ways } from "./enroll-command.ts";

const HOUR_SECONDS = 3600n;
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Mints a token for one agent and shows the command that enrolls it. */
export function EnrollForm() {
  const name = useSignal("agent-1");
  const way = useSignal<Way>("agent");
  const secret = useSignal<string | undefined>(undefined);
  const problem = useSignal<string | undefined>(undefined);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!NAME.test(name.value)) {
      problem.value =
        "A name is 1 to 128 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit.";
      return;
    }
    try {
      const ttl = { seconds: HOUR_SECONDS };
      const answer = await tokens.createToken({ role: TokenRole.ENROLLMENT, ttl, maxUses: 1 });
      secret.value = answer.secret;
      problem.value = undefined;
    } catch (error) {
      problem.value = sentenceOf(error);
    }
  };
  return (
    <form class="enroll" onSubmit={submit}>
      <div class="enroll-fields">
        <label class="field">
          <span>Name of the agent</span>
          <input
            name="name"
            value={name.value}
            spellcheck={false}
            autoComplete="off"
            onInput={(event) => {
              name.value = event.currentTarget.value;
            }}
          />
        </label>
        <button type="submit" class="button solid">
          {secret.value === undefined ? "Make the enroll command" : "Make another"}
        </button>
      </div>
      {problem.value !== undefined && (
        <p class="notice" data-tone="bad" role="alert">
          {problem.value}
        </p>
      )}
      {secret.value !== undefined && (
        <div class="enroll-command">
          <div class="choices" role="group" aria-label="Way to enroll">
            {(Object.keys(ways) as Way[]).map((each) => (
              <button
                key={each}
                type="button"
                aria-pressed={way.value === each}
                onClick={() => {
                  way.value = each;
                }}
              >
                {ways[each]}
              </button>
            ))}
          </div>
          <Command
            text={enrollCommand(way.value, {
              origin: location.origin,
              secret: secret.value,
              name: name.value,
            })}
            label="Copy the enroll command"
          />
          <p class="faint">
            {way.value === "agent"
              ? "Run it where Drover is installed. The agent takes tasks of the kind hello and hands each payload back. "
              : "The answer holds the agent's own token, for its heartbeats. "}
            The token in it works once, within an hour, and is not shown again.
          </p>
        </div>
      )}
    </form>
  );
}
