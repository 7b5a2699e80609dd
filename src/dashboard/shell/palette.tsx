import { signal, useSignal } from "@preact/signals";
import { agentRows } from "../live/fleet-store.ts";
import { Dialog } from "../parts/dialog.tsx";
import { Icon, type IconName } from "../parts/icon.tsx";
import { go } from "../router.ts";
import { nextTheme } from "../theme.ts";
import { pages } from "./pages.ts";

export const paletteOpen = signal(false);

interface Choice {
  readonly key: string;
  readonly label: string;
  readonly hint: string;
  readonly icon: IconName;
  readonly run: () => void;
}

const MOST_CHOICES = 12;

function choicesFor(text: string): Choice[] {
  const wanted = text.trim().toLowerCase();
  const task = /^task_[0-9a-f-]{36}$/.exec(wanted)?.[0];
  const found: Choice[] =
    task === undefined
      ? []
      : [{ key: task, label: task, hint: "task", icon: "tasks", run: () => go(["tasks", task]) }];
  for (const { name, label, icon, key } of pages) {
    if (label.toLowerCase().includes(wanted))
      found.push({ key: name, label, hint: `g ${key}`, icon, run: () => go([name]) });
  }
  if ("change theme dark light".includes(wanted))
    found.push({ key: "theme", label: "Change the theme", hint: "d", icon: "dark", run: nextTheme });
  if (wanted === "") return found;
  for (const { name, status } of agentRows.value.values()) {
    if (found.length >= MOST_CHOICES) break;
    if (name.toLowerCase().includes(wanted))
      found.push({
        key: `agent ${name}`,
        label: name,
        hint: status.label,
        icon: "fleet",
        run: () => go(["agents", name]),
      });
  }
  return found;
}

/** Goes to a page, an agent or a task by a few letters. */
export function Palette() {
  return paletteOpen.value ? <OpenPalette /> : null;
}

function OpenPalette() {
  const text = useSignal("");
  const chosen = useSignal(0);
  const choices = choicesFor(text.value);
  const close = () => {
    paletteOpen.value = false;
  };
  const take = (choice: Choice | undefined) => {
    if (choice === undefined) return;
    close();
    choice.run();
  };
  const hear = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step !== 0) {
      event.preventDefault();
      chosen.value = (chosen.value + step + choices.length) % Math.max(1, choices.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(choices[chosen.value]);
    }
  };
  return (
    <Dialog title="Go to…" onClose={close}>
      <div class="palette">
        <input
          type="text"
          role="combobox"
          aria-label="Page, agent or task"
          aria-expanded="true"
          aria-controls="palette-choices"
          aria-activedescendant={choices[chosen.value] === undefined ? undefined : `choice-${chosen.value}`}
          placeholder="A page, an agent's name, a task's id"
          value={text.value}
          onInput={(event) => {
            text.value = event.currentTarget.value;
            chosen.value = 0;
          }}
          onKeyDown={hear}
        />
        <div id="palette-choices" role="listbox" aria-label="Choices">
          {choices.map((choice, index) => (
            // biome-ignore lint/a11y/useKeyWithClickEvents: the field above hears the keys
            <div
              key={choice.key}
              id={`choice-${index}`}
              class="choice"
              role="option"
              aria-selected={index === chosen.value}
              onClick={() => take(choice)}
            >
              <Icon name={choice.icon} />
              <span>{choice.label}</span>
              <span class="hint">{choice.hint}</span>
            </div>
          ))}
        </div>
        {choices.length === 0 && <p class="nothing">Nothing is called that.</p>}
      </div>
    </Dialog>
  );
}
