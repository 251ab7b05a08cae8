import type { Stream } from "../../net/stream.ts";
import { HeaderList } from "../../wire/http1/header_list.ts";
import { OK } from "../core/codes.ts";
import type { Server } from "../core/location.ts";
import { Request } from "../core/request.ts";
import { newResponse } from "../core/response.ts";
import type { ClientTls, Exchange } from "../core/types.ts";
import type { Accepted } from "./types.ts";

/** A request before any has come: what variables are computed from while TLS is agreed on. Nothing is ever answered. */
export function handshakeRequest(
  accepted: Accepted,
  { remote, local }: Stream,
  tls: ClientTls,
  server: Server,
  variables: number,
): Request {
  const { number, startedAt, proxyProtocol, host } = accepted;
  const connection = {
    ...{ number, startedAt, proxyProtocol, remote, local, tls },
    requests: 0,
    secure: true,
    closed: false,
    sent: 0,
    counters: host.counters,
    pipelined: false,
    atClose: undefined,
    subrequestsEnded() {},
  };
  const request = new Request(connection, NO_EXCHANGE, server, new HeaderList(), newResponse(), variables);
  request.startedAt = startedAt;
  return request;
}

const NO_EXCHANGE: Exchange = {
  blocked: false,
  tunnel: undefined,
  sendHead() {},
  sendBody: () => true,
  flush() {},
  sendContinue() {},
  sendInformational() {},
  discardBody: () => OK,
  startBody() {},
  pauseBody() {},
  resumeBody() {},
  finalize() {},
  onFault() {},
  terminate() {},
};
