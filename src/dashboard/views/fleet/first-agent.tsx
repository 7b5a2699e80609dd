import { isOperator } from "../../api/session.ts";
import { Command } from "../../parts/copy.tsx";
import { Empty } from "../../parts/empty.tsx";
import { EnrollForm } from "../tokens/enroll-form.tsx";

/** A fleet without agents: the way to the first one. */
export function FirstAgent() {
  return (
    <>
      <h1 class="off-screen">Fleet</h1>
      <Empty icon="fleet" title="Your fleet is empty">
        <p>
          Agents are workers in any language that report to this server. Each one enrolls once, with a token
          made for that, and shows up here by itself.
        </p>
        {isOperator.value ? (
          <EnrollForm />
        ) : (
          <>
            <p>Ask an operator for an enrollment token, then run this on the agent's machine:</p>
            <Command
              text={`DROVER_TOKEN=drv_enr_… npx drover agent run --url ${location.origin} --on 'hello=cat'`}
            />
          </>
        )}
      </Empty>
    </>
  );
}
