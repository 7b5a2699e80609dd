let ending = true;
let watched = false;

/** Ends the process without a word when nobody reads its output any more, as in `drover agents | head`. */
export function endOnBrokenPipe(): void {
  if (watched) return;
  watched = true;
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
      if (ending) process.exit();
    });
  }
}

/** For a server: it outlives whoever read its output. */
export function surviveBrokenPipe(): void {
  ending = false;
}
