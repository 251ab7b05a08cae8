import { PASS, type Protocol } from "../probe.ts";

/**
 * `type=tcp`: the server accepts a connection. Never kept: an idle connection proves only that the server's kernel is
 * there.
 */
export function tcp(): Protocol {
  return {
    send: undefined,
    begin() {},
    connected: () => PASS,
    data: () => PASS,
    end: () => "closed by the server",
    drained: false,
    draining: false,
  };
}
