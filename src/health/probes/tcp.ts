import { PASS, type Probe } from "../probe.ts";

/**
 * `type=tcp`: the server accepts a connection. Never kept: an idle connection proves only that the server's kernel is
 * there.
 */
export function tcp(): Probe {
  return {
    send: undefined,
    begin() {},
    connected: () => PASS,
    data: () => PASS,
    end: () => "closed by the server",
    reusable: false,
    unfinished: false,
  };
}
