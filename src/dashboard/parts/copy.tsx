import { useSignal } from "@preact/signals";
import { Icon } from "./icon.tsx";

async function toClipboard(text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without TLS browsers leave pages of other machines no clipboard but this.
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "off-screen";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const done = useSignal(false);
  const copy = async () => {
    await toClipboard(text);
    done.value = true;
    setTimeout(() => {
      done.value = false;
    }, 1600);
  };
  return (
    <button type="button" class="button quiet" onClick={copy} aria-label={label} title={label}>
      <Icon name={done.value ? "check" : "copy"} />
      <span aria-live="polite">{done.value ? "Copied" : "Copy"}</span>
    </button>
  );
}

/** A command for a shell, ready to be copied. */
export function Command({ text, label = "Copy the command" }: { text: string; label?: string }) {
  return (
    <div class="command">
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls has to be reachable by keyboard */}
      <pre tabIndex={0}>{text}</pre>
      <CopyButton text={text} label={label} />
    </div>
  );
}

/** An id or name that is often wanted elsewhere. */
export function CopyText({ text }: { text: string }) {
  return (
    <span class="copy-text">
      <code>{text}</code>
      <CopyButton text={text} label={`Copy ${text}`} />
    </span>
  );
}
