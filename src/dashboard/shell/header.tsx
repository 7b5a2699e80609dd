import { tokens } from "../api/clients.ts";
import { endSession, session, tokenIdOf } from "../api/session.ts";
import { connection } from "../live/connection.ts";
import { Icon } from "../parts/icon.tsx";
import { nextTheme, theme } from "../theme.ts";
import { paletteOpen } from "./palette.tsx";
import { ProjectChoice } from "./project-choice.tsx";

const connectionWords = {
  live: { label: "Live", tone: "good", explains: "Changes show as they happen" },
  connecting: { label: "Connecting…", tone: "quiet", explains: "On the way to the server" },
  reconnecting: {
    label: "Reconnecting…",
    tone: "warn",
    explains:
      "The server cannot be reached just now; what you see is from before, and nothing will be missed",
  },
} as const;

const themeWords = { system: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" } as const;

export function Header() {
  const words = connectionWords[connection.value];
  const now = session.value;
  return (
    <header class="header">
      <ProjectChoice />
      <output class="connection" data-tone={words.tone} title={words.explains}>
        <i class="dot" aria-hidden="true" data-shape={connection.value} />
        {words.label}
      </output>
      <button
        type="button"
        class="button quiet palette-button"
        onClick={() => {
          paletteOpen.value = true;
        }}
      >
        <Icon name="search" />
        <span>Go to…</span>
        <span class="kbd" aria-hidden="true">
          Ctrl K
        </span>
      </button>
      <span class="role-name">{now.kind === "signed-in" ? now.role : ""}</span>
      <button
        type="button"
        class="button quiet icon-only"
        onClick={nextTheme}
        aria-label={themeWords[theme.value]}
        title={themeWords[theme.value]}
      >
        <Icon name={theme.value} />
      </button>
      <button
        type="button"
        class="button quiet icon-only"
        aria-label="Sign out"
        title="Sign out"
        onClick={signOut}
      >
        <Icon name="leave" />
      </button>
    </header>
  );
}

/** A token that the sign-in made ends with it; one that was pasted is its owner's. */
async function signOut(): Promise<void> {
  const now = session.value;
  if (now.kind === "signed-in" && now.own) {
    // It ends by itself in some hours, should the server not be there to hear of it.
    await tokens.revokeToken({ token: tokenIdOf(now.token) }, { timeoutMs: 3000 }).catch(() => {});
  }
  endSession();
}
