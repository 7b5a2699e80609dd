import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";
import { place, refine } from "../router.ts";
import type { Word } from "../words.ts";

/** What a list is narrowed down by. Every filter is a part of the address. */
export function Controls({ children }: { children: ComponentChildren }) {
  return <div class="controls">{children}</div>;
}

const filterText = (parameter: string): string => place.value.query.get(parameter) ?? "";

interface TextFilterProps {
  readonly label: string;
  readonly parameter: string;
  readonly placeholder: string;
}

/** Takes effect a moment after the last key. */
export function TextFilter({ label, parameter, placeholder }: TextFilterProps) {
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  const soon = (value: string) => {
    clearTimeout(timer.current);
    timer.current = setTimeout(() => refine({ [parameter]: value.trim() }), 250);
  };
  return (
    <label class="text-filter">
      <span class="off-screen">{label}</span>
      <input
        type="search"
        data-search
        spellcheck={false}
        placeholder={placeholder}
        value={filterText(parameter)}
        onInput={(event) => soon(event.currentTarget.value)}
      />
    </label>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly parameter: string;
  readonly words: Readonly<Record<string, Word>>;
  readonly all: string;
}

export function Choice({ label, parameter, words, all }: ChoiceProps) {
  return (
    <label class="select">
      <span class="off-screen">{label}</span>
      <select
        value={filterText(parameter)}
        onChange={(event) => refine({ [parameter]: event.currentTarget.value })}
      >
        <option value="">{all}</option>
        {Object.values(words)
          .filter(({ key }) => key !== "unknown")
          .map(({ key, label: text }) => (
            <option key={key} value={key}>
              {text}
            </option>
          ))}
      </select>
    </label>
  );
}
