import { warn } from "../../config/errors.ts";
import type { Scope, SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { type HeadText, headText } from "../../wire/head_text.ts";
import type { Template } from "../core/script.ts";
import type { TempPath } from "../core/temp_file.ts";
import { type FileRoot, fileRoot } from "../files/file_root.ts";
import { coreDirectives } from "./core_directives.ts";
import type { ErrorPage } from "./error_pages.ts";
import { buildMimeTypes, type MimeTypes } from "./mime.ts";

type Raw = SettingsOf<typeof coreDirectives.specs>;

/** The core's settings of a location under the names the code uses; times in ms, sizes in bytes. */
export interface CoreSettings {
  readonly clientMaxBodySize: number;
  readonly clientBodyBufferSize: number;
  readonly clientBodyTimeout: number;
  readonly satisfy: "all" | "any";
  readonly internal: boolean;
  readonly sendTimeout: number;
  readonly keepaliveTimeout: number;
  readonly keepaliveHeader: number;
  readonly keepaliveRequests: number;
  readonly keepaliveTime: number;
  readonly keepaliveMinTimeout: number;
  /** keepalive_disable */
  readonly disableMsie6: boolean;
  readonly disableSafari: boolean;
  readonly tcpNodelay: boolean;
  readonly lingeringClose: "off" | "on" | "always";
  readonly lingeringTime: number;
  readonly lingeringTimeout: number;
  readonly errorPages: readonly ErrorPage[];
  readonly recursiveErrorPages: boolean;
  readonly serverTokens: "off" | "on" | "build";
  readonly msiePadding: boolean;
  readonly chunked: boolean;
  readonly limitRate: Template | undefined;
  readonly limitRateAfter: Template | undefined;
  /** Absolute. */
  readonly clientBodyTempPath: TempPath;
  readonly root: FileRoot;
  /** By `types`. */
  readonly types: MimeTypes;
  readonly defaultType: HeadText;
  /** Everything, under nginx's names: for what is not on the path of each request. */
  readonly raw: Raw;
}

/** Tables already made, by the lines they were made of: most locations inherit one. */
const tables = new WeakMap<readonly Directive[], MimeTypes>();

function mimeTypes(scope: Scope, lines: readonly Directive[] | undefined): MimeTypes {
  const known = lines && tables.get(lines);
  if (known !== undefined) return known;
  const { types, warnings } = buildMimeTypes(lines);
  for (const { directive: at, message } of warnings) warn(at, scope, message);
  if (lines !== undefined) tables.set(lines, types);
  return types;
}

/** By the directives' settings: most locations share those of their server. */
const made = new WeakMap<Raw, CoreSettings>();

/** The settings in force in a scope. `absolute` puts the prefix in front of a relative path. */
export function coreSettings(scope: Scope, absolute: (path: string) => string): CoreSettings {
  const raw = coreDirectives.in(scope);
  const known = made.get(raw);
  if (known !== undefined) return known;
  const settings: CoreSettings = {
    clientMaxBodySize: raw.client_max_body_size,
    clientBodyBufferSize: raw.client_body_buffer_size,
    clientBodyTimeout: raw.client_body_timeout,
    satisfy: raw.satisfy,
    internal: raw.internal,
    sendTimeout: raw.send_timeout,
    keepaliveTimeout: raw.keepalive_timeout.timeout,
    keepaliveHeader: raw.keepalive_timeout.header,
    keepaliveRequests: raw.keepalive_requests,
    keepaliveTime: raw.keepalive_time,
    keepaliveMinTimeout: raw.keepalive_min_timeout,
    disableMsie6: raw.keepalive_disable.has("msie6"),
    disableSafari: raw.keepalive_disable.has("safari"),
    tcpNodelay: raw.tcp_nodelay,
    lingeringClose: raw.lingering_close,
    lingeringTime: raw.lingering_time,
    lingeringTimeout: raw.lingering_timeout,
    errorPages: raw.error_page,
    recursiveErrorPages: raw.recursive_error_pages,
    serverTokens: raw.server_tokens,
    msiePadding: raw.msie_padding,
    chunked: raw.chunked_transfer_encoding,
    limitRate: raw.limit_rate,
    limitRateAfter: raw.limit_rate_after,
    clientBodyTempPath: { ...raw.client_body_temp_path, path: absolute(raw.client_body_temp_path.path) },
    root: fileRoot(scope, coreDirectives.specs, absolute),
    types: mimeTypes(scope, raw.types),
    defaultType: headText(raw.default_type),
    raw,
  };
  made.set(raw, settings);
  return settings;
}
