import type { Target } from "../net/parse_url.ts";
import type { KeepaliveSettings } from "./peer.ts";

/** One `server` of an upstream as configured; times in ms. */
export interface ServerDefinition {
  /** The address as written, without the parameters. */
  readonly server: string;
  /** Where it is: a literal address, or a name to resolve. */
  readonly target: Target;
  readonly weight: number;
  readonly maxConns: number;
  readonly maxFails: number;
  readonly failTimeout: number;
  readonly slowStart: number;
  readonly backup: boolean;
  readonly down: boolean;
  readonly drain: boolean;
  readonly route: string;
  readonly file: string;
  readonly line: number;
}

/** The balancing method with its parameters. `key` is the text of `hash` with its $variables. */
export type MethodDefinition =
  | { readonly name: "round_robin" | "least_conn" | "ip_hash" | "random" | "random_two" }
  | { readonly name: "hash" | "hash_consistent"; readonly key: string }
  | { readonly name: "least_time"; readonly mode: "header" | "last_byte"; readonly inflight: boolean };

export interface UpstreamDefinition {
  readonly name: string;
  readonly servers: readonly ServerDefinition[];
  readonly method: MethodDefinition;
  readonly keepalive: KeepaliveSettings | undefined;
  readonly file: string;
  readonly line: number;
}

/** The parameters of a server that sets none. */
export const SERVER_DEFAULTS = {
  weight: 1,
  maxConns: 0,
  maxFails: 1,
  failTimeout: 10_000,
  slowStart: 0,
  backup: false,
  down: false,
  drain: false,
  route: "",
} as const;
