import type { Command, Option } from "commander";
import { choicesOf } from "../arguments.ts";
import { withServerFlags } from "../server-command.ts";

/** A flag as a shell completes it. */
export interface Flag {
  /** With its dashes. */
  readonly name: string;
  readonly description: string;
  readonly takesValue: boolean;
  /** All that its value may be; undefined where it may be anything. */
  readonly values: readonly string[] | undefined;
}

/** What may follow after the words of one command. */
export interface Place {
  /** The words after `drover`, such as `["agents", "get"]`; none for `drover` itself. */
  readonly words: readonly string[];
  readonly verbs: readonly { name: string; description: string }[];
  readonly flags: readonly Flag[];
  /** All that its argument may be, where that is known. */
  readonly values: readonly string[];
}

/** Every place in the tree of commands, from the top. */
export async function placesOf(command: Command, words: readonly string[] = []): Promise<Place[]> {
  const full = await withServerFlags(command);
  // A noun alone lists.
  const listing = command.commands.find((verb) => verb.name() === "list");
  const own: Place = {
    words,
    verbs: command.commands.map((verb) => ({ name: verb.name(), description: verb.description() })),
    flags: [...flagsOf(full), ...(listing === undefined ? [] : flagsOf(listing)), HELP],
    values: full.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
  };
  const below = await Promise.all(command.commands.map((verb) => placesOf(verb, [...words, verb.name()])));
  return [own, ...below.flat()];
}

const HELP: Flag = { name: "--help", description: "show help", takesValue: false, values: undefined };

function flagsOf(command: Command): Flag[] {
  return command.options.flatMap((option: Option) =>
    option.long == null || option.hidden
      ? []
      : [
          {
            name: option.long,
            description: option.description,
            takesValue: option.required || option.optional,
            values: choicesOf(option),
          },
        ],
  );
}
