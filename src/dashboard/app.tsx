import { useEffect } from "preact/hooks";
import { session, signInByCode } from "./api/session.ts";
import { clearFleet } from "./live/fleet-store.ts";
import { startLive } from "./live/live.ts";
import { say } from "./live/toasts.ts";
import { Toasts } from "./parts/toasts.tsx";
import { place, replace } from "./router.ts";
import { Shell } from "./shell/shell.tsx";
import { SignIn } from "./views/sign-in/sign-in-view.tsx";
import "./theme.ts";

export function App() {
  const signedIn = session.value.kind === "signed-in";
  const token = session.value.kind === "signed-in" ? session.value.token : "";
  const [first, code] = place.value.path;
  const linked = first === "sign-in" ? code : undefined;
  useEffect(() => {
    if (linked !== undefined) void followLink(linked);
  }, [linked]);
  useEffect(() => {
    if (token === "") return;
    const stop = startLive();
    return () => {
      stop();
      clearFleet();
    };
  }, [token]);
  return (
    <>
      {signedIn ? <Shell /> : <SignIn busy={linked !== undefined} />}
      <Toasts />
    </>
  );
}

/** Trades the link's code once, and takes it out of the address and of the browser's history before anything else. */
async function followLink(code: string): Promise<void> {
  replace("#/fleet");
  const problem = await signInByCode(code);
  if (problem === undefined) return;
  if (session.value.kind === "signed-in") say(problem, "bad");
  else session.value = { kind: "signed-out", why: problem };
}
