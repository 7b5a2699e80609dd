import { useComputed } from "@preact/signals";
import { count, measure } from "../format.ts";
import { agentRows } from "../live/fleet-store.ts";
import { Icon } from "../parts/icon.tsx";
import { href, viewName } from "../router.ts";
import { pages } from "./pages.ts";

export function Navigation() {
  const current = viewName.value === "agents" ? "fleet" : viewName.value;
  const troubled = useComputed(
    () => [...agentRows.value.values()].filter(({ tone }) => tone === "bad").length,
  );
  return (
    <nav class="navigation" aria-label="Pages">
      <a class="brand" href={href(["fleet"])} aria-label="Drover, to the fleet">
        <img src="/favicon.svg" alt="" width="24" height="24" />
        <span>Drover</span>
      </a>
      <ul>
        {pages.map(({ name, label, icon, key }) => (
          <li key={name}>
            <a
              href={href([name])}
              aria-current={current === name ? "page" : undefined}
              title={`${label} (g ${key})`}
            >
              <Icon name={icon} />
              <span>{label}</span>
              {name === "fleet" && troubled.value > 0 && (
                <b class="bubble" title={`${count(troubled.value)} in trouble`}>
                  {measure(troubled.value)}
                </b>
              )}
            </a>
          </li>
        ))}
      </ul>
    </nav>
  );
}
