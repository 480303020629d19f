/** What a stream says when nobody reads it any more (`| head`): no fault of the command. */
const codes: ReadonlySet<string | undefined> = new Set(["EPIPE", "ERR_STREAM_DESTROYED", "EIO"]);

export function isReaderGone({ code }: NodeJS.ErrnoException): boolean {
  return codes.has(code);
}
