import type { Command } from "commander";
import { newRequestId } from "../api.ts";
import { instantText, orDash } from "../cell-text.ts";
import {
  apiFor,
  type ClientFlags,
  type ListFlags,
  limitOf,
  printListing,
  withClientFlags,
  withListFlags,
} from "../client-command.ts";
import { commandGroup } from "../command-group.ts";
import { listPages } from "../list-pages.ts";
import { printJson, printLine } from "../output.ts";
import type { ProjectJson } from "../resources.ts";
import type { Column } from "../table.ts";

const PATH = "/api/v1/projects";

export function addProjects(program: Command): void {
  const group = commandGroup(program, "projects", "see and make projects");
  const list = group
    .command("list", { isDefault: true })
    .description("list projects by name (this is what `drover projects` does)");
  withClientFlags(withListFlags(list)).action(listProjects);
  withClientFlags(
    group
      .command("create")
      .description("make a project; for the server's own operator token alone")
      .argument("<name>", "unique on the server"),
  ).action(createProject);
}

async function listProjects(flags: ClientFlags & ListFlags): Promise<void> {
  const listing = await listPages<ProjectJson>(apiFor(flags), PATH, "projects", {}, limitOf(flags));
  printListing(flags, listing, columns, "projects");
}

async function createProject(name: string, flags: ClientFlags): Promise<void> {
  const { text, value } = await apiFor(flags).post<ProjectJson>(PATH, { name, requestId: newRequestId() });
  if (flags.json === true) printJson(text);
  else printLine(`${value.name ?? name} is made, with the id ${orDash(value.id)}.`);
}

const columns: readonly Column<ProjectJson>[] = [
  { heading: "NAME", text: ({ name }) => orDash(name) },
  { heading: "ID", text: ({ id }) => orDash(id) },
  { heading: "CREATED", text: ({ createdAt }) => instantText(createdAt) },
];
