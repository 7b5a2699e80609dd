import { allPages } from "../api/all-pages.ts";
import { projects } from "../api/clients.ts";
import { chooseProject, project } from "../api/project.ts";
import { isOperator } from "../api/session.ts";
import { useResource } from "../live/resource.ts";

/** The project that is looked at: a choice for the server's own token, which alone may name another one. */
export function ProjectChoice() {
  const list = useResource(`projects ${isOperator.value}`, async () =>
    isOperator.value
      ? await allPages(
          (page) => projects.listProjects(page),
          (page) => page.projects.map(({ name }) => name),
        )
      : [],
  );
  const reading = list.reading.value;
  const names = reading.kind === "ready" ? reading.value : [];
  const current = project.value || (names.length === 1 ? names[0] : "default");
  if (names.length < 2) return <span class="project-name">{names.length === 1 ? current : ""}</span>;
  return (
    <label class="select project-choice">
      <span class="off-screen">Project</span>
      <select value={current} onChange={(event) => chooseProject(event.currentTarget.value)}>
        {names.map((name) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
