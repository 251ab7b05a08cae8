import { failAtEnd } from "../../config/directives.ts";
import type { Scope } from "../../config/schema.ts";
import type { Cycle } from "../../runtime/cycle.ts";
import type { GroupSettings, ZoneSettings } from "../zone/session_zone.ts";

/** What `store=` of a session zone stands for. */

export interface RedisDefinition {
  /** One server, several that watch a master among others, or several that have a part of the keys each. */
  readonly kind: "single" | "sentinel" | "cluster";
  readonly hosts: readonly RedisHost[];
  /** By which the sentinels know the master. */
  readonly master: string | undefined;
  readonly database: number;
  readonly user: string | undefined;
  readonly password: string | undefined;
  readonly tls: RedisTls | undefined;
  /** Of all keys. */
  readonly prefix: string;
  /** After how long a request goes on without an answer, ms. */
  readonly timeout: number;
  /** Bytes that changes may take which wait for the store. */
  readonly queue: number;
  /** Without secrets. */
  readonly text: string;
}

export interface RedisHost {
  readonly host: string;
  readonly port: number;
}

export interface RedisTls {
  /** PEM; undefined: the authorities that Node brings. */
  readonly ca: string | undefined;
  readonly verify: boolean;
}

const URL_FORM = /^(?:redis|valkey)(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^@]*)@)?([^/@]+)(?:\/(.*))?$/;
const HOST = /^(\[[\da-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/;
const PORT = 6379;
const SENTINEL_PORT = 26379;
const MOST_DATABASE = 9999;

/** Reads the settings of a zone of a group. Errors are noted in `http`. */
export function redisDefinition(
  zone: ZoneSettings,
  group: GroupSettings,
  timeout: number,
  cycle: Cycle,
  http: Scope,
): RedisDefinition | undefined {
  const text = group.store.replace(/\/\/[^/]*@/, "//");
  const wrong = (why: string): undefined => {
    failAtEnd(http, `invalid store "${text}" of session zone "${zone.name}": ${why}`);
  };
  const match = URL_FORM.exec(group.store);
  if (match === null) {
    return wrong("it must be redis[s][+sentinel|+cluster]://[[user]:password@]host[:port][,host[:port]…][/…]");
  }
  const [, secure, mode, login = "", hostList, path = ""] = match;
  const kind = mode === "sentinel" || mode === "cluster" ? mode : "single";
  const hosts: RedisHost[] = [];
  for (const one of hostList.split(",")) {
    const [, host, port = kind === "sentinel" ? SENTINEL_PORT : PORT] = HOST.exec(one) ?? [];
    if (host === undefined || Number(port) < 1 || Number(port) > 65535) return wrong(`"${one}" is no host[:port]`);
    hosts.push({ host: host.replace(/^\[|\]$/g, ""), port: Number(port) });
  }
  if (kind === "single" && hosts.length > 1) {
    return wrong('several hosts need "redis+sentinel://" or "redis+cluster://"');
  }
  const words = path === "" ? [] : path.split("/");
  const master = kind === "sentinel" ? words.shift() : undefined;
  if (kind === "sentinel" && (master === undefined || master === "")) {
    return wrong("the name of the master must follow the sentinels' hosts (…/mymaster)");
  }
  const [databaseText = "0", ...more] = words;
  const database = /^\d{1,4}$/.test(databaseText) ? Number(databaseText) : MOST_DATABASE + 1;
  if (more.length > 0 || database > MOST_DATABASE) return wrong(`"${path}" is no database's number`);
  if (kind === "cluster" && database !== 0) return wrong("a cluster has no databases but 0");
  const credentials = decodeLogin(login);
  if (credentials === undefined) return wrong("its user or password has a wrong %-escape");
  const fromFile = group.passwordFile === undefined ? undefined : passwordIn(cycle, http, group.passwordFile);
  if (secure === "" && (group.ca !== undefined || !group.verify)) {
    return wrong('"ca" and "verify" need TLS ("rediss://")');
  }
  const ca = group.ca === undefined ? undefined : Buffer.from(cycle.readFile(cycle.path(group.ca, "conf")));
  return {
    kind,
    hosts,
    master,
    database,
    user: credentials.user,
    password: fromFile ?? credentials.password,
    tls: secure === "" ? undefined : { ca: ca?.latin1Slice(), verify: group.verify },
    prefix: group.prefix ?? `holdfast:${zone.name}:`,
    timeout,
    queue: group.queue ?? zone.size,
    text,
  };
}

/** `user:password`, `:password`, or as many clients take it a password alone. */
function decodeLogin(login: string): { readonly user?: string; readonly password?: string } | undefined {
  if (login === "") return {};
  const colon = login.indexOf(":");
  try {
    const user = decodeURIComponent(colon < 0 ? "" : login.slice(0, colon));
    const password = decodeURIComponent(login.slice(colon + 1));
    return { password, ...(user === "" ? {} : { user }) };
  } catch {
    return undefined;
  }
}

/** The first line of a file. */
function passwordIn(cycle: Cycle, http: Scope, file: string): string {
  const path = cycle.path(file, "conf");
  const [password] = Buffer.from(cycle.readFile(path)).toString("utf8").split(/\r?\n/);
  if (password === "") failAtEnd(http, `"${path}" has no password in its first line`);
  return password;
}
