import { useSignal } from "@preact/signals";
import { TokenRole } from "../../../../gen/drover/v1/token_service_pb.js";
import { parseDuration } from "../../../runtime/duration.ts";
import { tokens } from "../../api/clients.ts";
import { sentenceOf } from "../../api/failure.ts";
import { CopyText } from "../../parts/copy.tsx";

const roles = [
  { role: TokenRole.VIEWER, label: "Viewer: looks, changes nothing" },
  { role: TokenRole.OPERATOR, label: "Operator: may do everything" },
  { role: TokenRole.RUNNER, label: "Runner: runs heartbeat passes" },
  { role: TokenRole.ENROLLMENT, label: "Enrollment: makes agents" },
] as const;

/** Mints a token of any role and shows its secret, this once. */
export function MintForm({ onMinted }: { onMinted: () => void }) {
  const role = useSignal<TokenRole>(TokenRole.VIEWER);
  const secret = useSignal<string | undefined>(undefined);
  const problem = useSignal<string | undefined>(undefined);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    const form = new FormData(event.currentTarget);
    const life = parseDuration(String(form.get("ttl") || "0s"));
    if (life.kind === "bad") {
      problem.value = `The lifetime ${life.problem}.`;
      return;
    }
    try {
      const answer = await tokens.createToken({
        role: role.value,
        ...(life.ms > 0 && { ttl: { seconds: BigInt(Math.ceil(life.ms / 1000)) } }),
        ...(role.value === TokenRole.ENROLLMENT && { maxUses: Number(form.get("uses")) || 1 }),
      });
      secret.value = answer.secret;
      problem.value = undefined;
      onMinted();
    } catch (error) {
      problem.value = sentenceOf(error);
    }
  };
  return (
    <form class="mint" onSubmit={submit}>
      <label class="field">
        <span>Role</span>
        <select
          value={role.value}
          onChange={(event) => {
            role.value = Number(event.currentTarget.value);
          }}
        >
          {roles.map((each) => (
            <option key={each.role} value={each.role}>
              {each.label}
            </option>
          ))}
        </select>
      </label>
      <label class="field short">
        <span>Lives for, as 30d</span>
        <input name="ttl" placeholder="no end" autoComplete="off" />
      </label>
      {role.value === TokenRole.ENROLLMENT && (
        <label class="field short">
          <span>Agents</span>
          <input name="uses" type="number" min={1} max={1_000_000} defaultValue="1" />
        </label>
      )}
      <button type="submit" class="button">
        Mint
      </button>
      {problem.value !== undefined && (
        <p class="notice" data-tone="bad" role="alert">
          {problem.value}
        </p>
      )}
      {secret.value !== undefined && (
        <div class="notice" data-tone="good" role="status">
          <p>Here it is, this once:</p>
          <CopyText text={secret.value} />
        </div>
      )}
    </form>
  );
}
