import { setDeadline } from "../../../sys/timers.ts";
import { logConnection } from "../../core/log_context.ts";
import type { H1Connection } from "./connection.ts";
import { bodyFailed } from "./connection_body.ts";
import { terminate } from "./connection_end.ts";
import { headAction, refuseHead } from "./connection_head.ts";
import { BODY, HEAD, IDLE, KEPT } from "./connection_modes.ts";

/** The deadline of what the client is to send has passed. */
export function expire(connection: H1Connection): void {
  const { request, stream } = connection;
  switch (connection.mode) {
    case IDLE:
      if (connection.requests === 0) {
        const sentence = "client timed out (110: Connection timed out) while waiting for request";
        logConnection(connection, connection.host.config, "info", sentence);
      }
      stream.destroy();
      return;
    case KEPT:
      if (connection.idleTime === 0 || connection.host.draining) {
        stream.destroy();
      } else {
        connection.mode = IDLE;
        connection.host.waits(connection);
        setDeadline(connection.deadline, connection.idleTime);
      }
      return;
    case HEAD:
      refuseHead(
        connection,
        408,
        `client timed out (110: Connection timed out) while ${headAction(connection, false)}`,
      );
      return;
    case BODY:
      if (request === undefined) return;
      // A body that nobody reads yet keeps nobody waiting.
      if (!request.discardBody && request.bodySink === undefined) return;
      request.timedOut = true;
      if (request.finalized) terminate(connection, request);
      else bodyFailed(connection, request, 408);
  }
}
