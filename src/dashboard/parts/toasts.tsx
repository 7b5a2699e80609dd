import { dismiss, toasts } from "../live/toasts.ts";
import { Icon } from "./icon.tsx";

/** What was said in passing, at the edge of the page. */
export function Toasts() {
  return (
    <div class="toasts" aria-live="polite">
      {toasts.value.map(({ id, text, tone }) => (
        <div key={id} class="toast" data-tone={tone}>
          <i class="dot" aria-hidden="true" />
          <p>{text}</p>
          <button
            type="button"
            class="button quiet icon-only"
            aria-label="Dismiss"
            onClick={() => dismiss(id)}
          >
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}
