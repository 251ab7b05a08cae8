import type { BalanceInput } from "../../balancer/attempt.ts";
import type { Group } from "../../balancer/group.ts";
import type { Pool } from "../../balancer/pool.ts";
import type { ResponseRules } from "./headers.ts";
import type { BodyCoding, UpstreamProtocol } from "./protocol.ts";
import type { UpstreamSettings } from "./settings.ts";

/** How a request's bytes are made, and where they go. Filled by the protocol's module. */
export interface UpstreamTarget {
  readonly protocol: UpstreamProtocol;
  readonly group: Group;
  readonly pool: Pool | undefined;
  readonly settings: UpstreamSettings;
  readonly rules: ResponseRules;
  /** What `keepalive … local` knows the location by: the same text in every generation. */
  readonly place: string;
  /** What goes ahead of the body, as a byte string: for HTTP/1 the head with its blank line. */
  readonly head: string;
  /** proxy_set_body: the body in place of the client's. */
  readonly body: string | undefined;
  /** The method sent is HEAD: the answer has no body. */
  readonly headRequest: boolean;
  /** How the client's body is cut up; undefined where it goes as it is. */
  readonly coding: BodyCoding | undefined;
  readonly input: BalanceInput;
  /** `http://upstream/uri` for the error log: scheme and uri, the peer is put between. */
  readonly scheme: string;
  readonly uri: string;
}
