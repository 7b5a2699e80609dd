import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { sentenceOf } from "../api/failure.ts";
import { say } from "../live/toasts.ts";
import { Dialog } from "./dialog.tsx";

interface ActionProps {
  /** The button's word, such as "Remove". */
  readonly label: string;
  /** What is asked before it is done. */
  readonly question: string;
  /** What it will do, in words; and fields, where it needs some. */
  readonly children: ComponentChildren;
  /** Does it; resolves to the sentence that is said afterwards. */
  readonly run: (form: FormData) => Promise<string>;
  readonly danger?: boolean;
  /** The word on the button that leaves everything as it is. */
  readonly cancel?: string;
  readonly disabled?: string | undefined;
  readonly onDone?: () => void;
}

/** A button that asks before it acts, shows that it is at it, and says what came of it. */
export function Action({
  label,
  question,
  children,
  run,
  danger = false,
  cancel = "Keep as it is",
  disabled,
  onDone,
}: ActionProps) {
  const open = useSignal(false);
  const busy = useSignal(false);
  const problem = useSignal<string | undefined>(undefined);
  const close = () => {
    open.value = false;
    problem.value = undefined;
  };
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (busy.value || !(event.currentTarget instanceof HTMLFormElement)) return;
    busy.value = true;
    try {
      say(await run(new FormData(event.currentTarget)));
      close();
      onDone?.();
    } catch (error) {
      problem.value = sentenceOf(error);
    } finally {
      busy.value = false;
    }
  };
  return (
    <>
      <button
        type="button"
        class={danger ? "button danger" : "button"}
        disabled={disabled !== undefined}
        title={disabled}
        onClick={() => {
          open.value = true;
        }}
      >
        {label}
      </button>
      {open.value && (
        <Dialog title={question} onClose={close}>
          <form onSubmit={submit}>
            {children}
            {problem.value !== undefined && (
              <p class="notice" data-tone="bad" role="alert">
                {problem.value}
              </p>
            )}
            <footer>
              <button type="button" class="button" onClick={close}>
                {cancel}
              </button>
              <button
                type="submit"
                class={danger ? "button danger solid" : "button solid"}
                disabled={busy.value}
              >
                {busy.value ? "One moment…" : label}
              </button>
            </footer>
          </form>
        </Dialog>
      )}
    </>
  );
}
