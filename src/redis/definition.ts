import { errorCode, errorText } from "../sys/errno.ts";

/** Where a Redis or Valkey is that nodes share something through, and how it is reached. */
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
  /** Without secrets. */
  readonly text: string;
}

interface RedisHost {
  readonly host: string;
  readonly port: number;
}

interface RedisTls {
  /** PEM; undefined: the authorities that Node brings. */
  readonly ca: string | undefined;
  readonly verify: boolean;
}

/** What a configuration says of it, as written. */
export interface RedisSetting {
  readonly store: string;
  readonly prefix: string | undefined;
  readonly passwordFile: string | undefined;
  readonly ca: string | undefined;
  readonly verify: boolean;
}

/** Parameters beside the URL. Returns false where the value is wrong; undefined: there is no such parameter. */
export function readRedisParameter(
  into: { -readonly [K in keyof RedisSetting]?: RedisSetting[K] },
  parameter: string,
  value: string,
): boolean | undefined {
  switch (parameter) {
    case "prefix":
      into.prefix = value;
      return true;
    case "password_file":
      into.passwordFile = value;
      return true;
    case "ca":
      into.ca = value;
      return true;
    case "verify":
      into.verify = value === "on";
      return value === "on" || value === "off";
    default:
      return undefined;
  }
}

/** What reading a definition needs of the configuration. */
export interface RedisReader {
  /** What has the store, in errors: `session zone "carts"`. */
  readonly owner: string;
  /** Of keys, where the setting has none. */
  readonly prefix: string;
  readonly fail: (sentence: string) => never;
  /** The path made absolute, and the contents of the file. */
  readonly path: (file: string) => string;
  readonly readFile: (path: string) => Uint8Array;
}

const URL_FORM = /^(?:redis|valkey)(s?)(?:\+(sentinel|cluster))?:\/\/(?:([^@]*)@)?([^/@]+)(?:\/(.*))?$/;
const HOST = /^(\[[\da-fA-F:.]+\]|[\w.-]+)(?::(\d{1,5}))?$/;
const PORT = 6379;
const SENTINEL_PORT = 26379;
const MOST_DATABASE = 9999;

export function redisDefinition(setting: RedisSetting, reader: RedisReader): RedisDefinition {
  const text = setting.store.replace(/\/\/[^/]*@/, "//");
  const wrong = (why: string): never => reader.fail(`invalid store "${text}" of ${reader.owner}: ${why}`);
  const match = URL_FORM.exec(setting.store);
  if (match === null) {
    return wrong("it must be redis[s][+sentinel|+cluster]://[[user]:password@]host[:port][,host[:port]...][/database]");
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
    return wrong("the name of the master must follow the sentinels' hosts (.../mymaster)");
  }
  const [databaseText = "0", ...more] = words;
  const database = /^\d{1,4}$/.test(databaseText) ? Number(databaseText) : MOST_DATABASE + 1;
  if (more.length > 0 || database > MOST_DATABASE) return wrong(`"${path}" is no database's number`);
  if (kind === "cluster" && database !== 0) return wrong("a cluster has no databases but 0");
  const credentials = decodeLogin(login);
  if (credentials === undefined) return wrong("its user or password has a wrong %-escape");
  const fromFile = setting.passwordFile === undefined ? undefined : passwordIn(setting.passwordFile, reader);
  if (secure === "" && (setting.ca !== undefined || !setting.verify)) {
    return wrong('"ca" and "verify" need TLS ("rediss://")');
  }
  const ca = setting.ca === undefined ? undefined : read(reader.path(setting.ca), reader);
  return {
    kind,
    hosts,
    master,
    database,
    user: credentials.user,
    password: fromFile ?? credentials.password,
    tls: secure === "" ? undefined : { ca: ca?.latin1Slice(), verify: setting.verify },
    prefix: setting.prefix ?? reader.prefix,
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
function passwordIn(file: string, reader: RedisReader): string {
  const path = reader.path(file);
  const [password] = read(path, reader).toString("utf8").split(/\r?\n/);
  return password === "" ? reader.fail(`"${path}" has no password in its first line`) : password;
}

function read(path: string, { readFile, fail }: RedisReader): Buffer {
  try {
    return Buffer.from(readFile(path));
  } catch (error) {
    return fail(`open() "${path}" failed (${errorText(errorCode(error))})`);
  }
}
