import type { TlsContext } from "../net/tls/context.ts";
import type { Probe } from "./probe.ts";
import type { GrpcSettings } from "./probes/grpc.ts";
import type { ResponseTests } from "./response.ts";
import type { Sharing } from "./sharing.ts";

export const CHECK_TYPES = [
  "tcp",
  "http",
  "https",
  "ssl_hello",
  "mysql",
  "ajp",
  "fastcgi",
  "uwsgi",
  "scgi",
  "grpc",
  "grpcs",
] as const;
export type CheckType = (typeof CHECK_TYPES)[number];

/** TLS to the servers that are checked. */
export interface CheckTls {
  readonly context: TlsContext;
  /** The servers' name; undefined: each has the host name of its directive. */
  readonly name: string | undefined;
  /** The server is told which name is meant (SNI). */
  readonly sendsName: boolean;
  /** Its certificate must hold, and be for that name. */
  readonly verifies: boolean;
}

/** A check as configured. Times in ms. */
export interface CheckDefinition {
  readonly type: CheckType | "node";
  /** What the log calls it: `http`, `http port 81`, `health_check /uri`. */
  readonly label: string;
  readonly interval: number;
  /** Each check is delayed by up to this much. */
  readonly jitter: number;
  readonly timeout: number;
  readonly fall: number;
  readonly rise: number;
  readonly defaultDown: boolean;
  /** Port to connect to; 0: the server's own. */
  readonly port: number;
  readonly unique: boolean;
  /** Checks on one connection, and for how long; time 0: no bound, time > 0 overrides the number. */
  readonly keep: { readonly requests: number; readonly time: number };
  /** Undefined: the connection is not over TLS. */
  readonly tls: CheckTls | undefined;
  /** http: the request; tcp with a `match`: what to say first. */
  readonly send: string;
  /** http, fastcgi, uwsgi and scgi: what the answer must be. */
  readonly expect: ResponseTests;
  /** tcp with a `match`: what must be received after `send` was sent. */
  readonly receive: ((received: string) => boolean) | undefined;
  /** fastcgi, uwsgi and scgi: the request's parameters. */
  readonly params: readonly { readonly key: string; readonly value: string }[];
  /** grpc and grpcs. */
  readonly grpc?: GrpcSettings;
  /** With the other nodes of a cluster: the same for all checks of an upstream; undefined: not at all. */
  readonly sharing?: Sharing;
  /** node: makes the probe of a node of the cluster. */
  readonly probe?: () => Probe;
  /** What the check does, as text: checks with the same text share a state over reloads (and under `unique`). */
  readonly identity: string;
}
