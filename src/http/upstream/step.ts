// How far a request has come with the present server.

export const CONNECTING = 0;
/** Sending the request, waiting for the answer's head. */
export const HEADER = 1;
/** The answer's head has been passed on. */
export const BODY = 2;
export const TUNNEL = 3;
/** No server is at work. */
export const OVER = 4;

/** What the step is called in the error log. */
export function doing(step: number, bodySent: boolean): string {
  if (step === CONNECTING) return "connecting to upstream";
  if (step === TUNNEL) return "proxying upgraded connection";
  if (step !== HEADER) return "reading upstream";
  return bodySent ? "reading response header from upstream" : "sending request to upstream";
}
