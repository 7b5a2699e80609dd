interface Places {
  dataFolder: string;
  logFile: string;
  /** Whom PostgreSQL runs as: a uid. */
  user: number;
}

/** What PostgreSQL's log says about its failure, and the cure we know for it; a sentence or two for the operator. */
export function explainPostgresFailure(log: string, places: Places): string {
  const lines = usefulLines(log);
  const quoted = lines.join("\n");
  const cure = cures.find(({ sign }) => sign.test(quoted))?.say(places) ?? `See ${places.logFile}.`;
  return lines.length === 0
    ? cure
    : `${cure} PostgreSQL said: ${lines.map((line) => line.trim()).join(" / ")}`;
}

const MOST_LINES = 6;

function usefulLines(log: string): string[] {
  const telling = /FATAL|PANIC|ERROR|HINT|DETAIL|could not|error while loading|No space|cannot|invalid/;
  const lines = log.split("\n").filter((line) => line.trim() !== "");
  const useful = lines.filter((line) => telling.test(line));
  return (useful.length > 0 ? useful : lines).slice(-MOST_LINES);
}

const cures: { sign: RegExp; say(places: Places): string }[] = [
  {
    sign: /No space left on device|Disk quota exceeded/,
    say: ({ dataFolder }) =>
      `The disk that holds ${dataFolder} is full; free some space there and start again.`,
  },
  {
    sign: /error while loading shared libraries|Library not loaded|GLIBC_/,
    say: () =>
      "A system library that PostgreSQL needs is missing; install it, or set DATABASE_URL to a PostgreSQL of your own.",
  },
  {
    sign: /Permission denied|has wrong ownership|has invalid permissions/,
    say: ({ dataFolder, user }) =>
      `PostgreSQL may not use ${dataFolder}; give the folder to user ${user}, mode 0700.`,
  },
  {
    sign: /Read-only file system/,
    say: ({ dataFolder }) =>
      `${dataFolder} lies on a read-only disk; set DROVER_DATA_DIR to a folder that can be written.`,
  },
  {
    sign: /database files are incompatible|initialized by PostgreSQL version/,
    say: ({ dataFolder }) =>
      `${dataFolder} was made by another version of PostgreSQL; run the Drover that made it, dump, and load the dump here.`,
  },
  {
    sign: /user does not exist|could not look up effective user/,
    say: () =>
      "PostgreSQL runs only as a user that has a name; add this one to /etc/passwd, or set DATABASE_URL to a PostgreSQL of your own.",
  },
  {
    sign: /shared memory|semaphores|Cannot allocate memory/,
    say: () =>
      "The system grants PostgreSQL too little shared memory; raise the limits of this machine or container.",
  },
];
