import { useSignalEffect } from "@preact/signals";
import { useRef } from "preact/hooks";
import { place, viewName } from "../router.ts";
import { AgentView } from "../views/agent/agent-view.tsx";
import { AuditView } from "../views/audit/audit-view.tsx";
import { ErrorsView } from "../views/errors/errors-view.tsx";
import { EventsView } from "../views/events/events-view.tsx";
import { FleetView } from "../views/fleet/fleet-view.tsx";
import { RunsView } from "../views/runs/runs-view.tsx";
import { TaskView } from "../views/tasks/task-view.tsx";
import { TasksView } from "../views/tasks/tasks-view.tsx";
import { TokensView } from "../views/tokens/tokens-view.tsx";
import { TrackersView } from "../views/trackers/trackers-view.tsx";
import { Header } from "./header.tsx";
import { LostConnection } from "./lost-connection.tsx";
import { Navigation } from "./navigation.tsx";
import { NotFound } from "./not-found.tsx";
import { Palette } from "./palette.tsx";
import { useShortcuts } from "./shortcuts.tsx";

/** The frame around every view: navigation, header, and the part that scrolls. */
export function Shell() {
  const main = useRef<HTMLElement>(null);
  useShortcuts();
  useSignalEffect(() => {
    // A new place begins at its top; a changed filter stays where it is.
    place.value.path.join("/");
    document.title = `${titleOf(place.value.path)} · Drover`;
  });
  return (
    <div class="shell">
      <button type="button" class="button skip" onClick={() => main.current?.focus()}>
        Skip to the content
      </button>
      <Navigation />
      <Header />
      <main ref={main} id="main" tabIndex={-1} key={place.value.path.join("/")}>
        <LostConnection />
        <View />
      </main>
      <Palette />
    </div>
  );
}

function titleOf([view = "fleet", id]: readonly string[]): string {
  return id ?? `${view[0]?.toUpperCase()}${view.slice(1)}`;
}

function View() {
  const [, id] = place.value.path;
  switch (viewName.value) {
    case "fleet":
      return <FleetView />;
    case "agents":
      return id === undefined ? <FleetView /> : <AgentView key={id} name={id} />;
    case "tasks":
      return id === undefined ? <TasksView /> : <TaskView key={id} id={id} />;
    case "errors":
      return <ErrorsView />;
    case "runs":
      return <RunsView />;
    case "trackers":
      return <TrackersView />;
    case "events":
      return <EventsView />;
    case "audit":
      return <AuditView />;
    case "tokens":
      return <TokensView />;
    default:
      return <NotFound />;
  }
}
