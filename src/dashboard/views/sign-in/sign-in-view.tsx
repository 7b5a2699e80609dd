import { useSignal } from "@preact/signals";
import { session, signInWith } from "../../api/session.ts";
import { Command } from "../../parts/copy.tsx";

/** The way in: by the link that the server printed, or by a token. */
export function SignIn({ busy }: { busy: boolean }) {
  const problem = useSignal<string | undefined>(undefined);
  const now = session.value;
  const why = problem.value ?? (now.kind === "signed-out" ? now.why : undefined);
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    if (!(event.currentTarget instanceof HTMLFormElement)) return;
    problem.value = signInWith(String(new FormData(event.currentTarget).get("token") ?? ""));
  };
  return (
    <main class="sign-in">
      <div class="sign-in-card">
        <div class="brand">
          <img src="/favicon.svg" alt="" width="32" height="32" />
          <span>Drover</span>
        </div>
        <h1>Sign in</h1>
        {busy && <p role="status">Signing you in…</p>}
        {why !== undefined && (
          <p class="notice" data-tone="warn" role="alert">
            {why}
          </p>
        )}
        <form onSubmit={submit}>
          <label class="field">
            <span>Token of an operator or a viewer</span>
            <input
              name="token"
              type="password"
              autoComplete="off"
              spellcheck={false}
              placeholder="drv_opr_…"
            />
          </label>
          <button type="submit" class="button solid">
            Sign in
          </button>
        </form>
        <div class="sign-in-help">
          <p>
            The server prints a link that signs you in when it starts. Or take the token that it wrote on its
            first start:
          </p>
          <Command text="cat .drover/operator.token" />
          <p>The token stays in this tab. Closing the tab forgets it.</p>
        </div>
      </div>
    </main>
  );
}
