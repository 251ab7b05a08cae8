import { warn } from "../../config/errors.ts";
import type { Scope, SettingsOf } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { headText } from "../../wire/head_text.ts";
import type { CoreSettings, GzipDisable } from "../core/location.ts";
import { fileRoot } from "../files/file_root.ts";
import { coreDirectives } from "./core_directives.ts";
import { buildMimeTypes, type MimeTypes } from "./mime.ts";

type Raw = SettingsOf<typeof coreDirectives.specs>;

/** Tables by the lines they were made of: most locations inherit theirs. */
const tables = new WeakMap<readonly Directive[], MimeTypes>();

function mimeTypes(scope: Scope, lines: readonly Directive[] | undefined): MimeTypes {
  const known = lines && tables.get(lines);
  if (known !== undefined) return known;
  const { types, warnings } = buildMimeTypes(lines);
  for (const { directive: at, message } of warnings) warn(at, scope, message);
  if (lines !== undefined) tables.set(lines, types);
  return types;
}

/** `gzip_disable msie6` holds in all blocks within; patterns are inherited by those without a `gzip_disable`. */
function disablesMsie6(scope: Scope): boolean {
  for (let at: Scope | undefined = scope; at !== undefined; at = at.parent) {
    const disabled = at.values.get(coreDirectives.specs.gzip_disable) as GzipDisable | undefined;
    if (disabled?.msie6) return true;
  }
  return false;
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
    clientBodyInFileOnly: raw.client_body_in_file_only,
    satisfy: raw.satisfy,
    authDelay: raw.auth_delay,
    internal: raw.internal,
    sendTimeout: raw.send_timeout,
    sendfile: raw.sendfile,
    sendfileMaxChunk: raw.sendfile_max_chunk,
    resetTimedoutConnection: raw.reset_timedout_connection,
    keepaliveTimeout: raw.keepalive_timeout.timeout,
    keepaliveHeader: raw.keepalive_timeout.header,
    keepaliveRequests: raw.keepalive_requests,
    http2ChunkSize: raw.http2_chunk_size,
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
    postAction: raw.post_action,
    logNotFound: raw.log_not_found,
    logSubrequest: raw.log_subrequest,
    subrequestOutputBufferSize: raw.subrequest_output_buffer_size,
    postponeOutput: raw.postpone_output,
    absoluteRedirect: raw.absolute_redirect,
    serverNameInRedirect: raw.server_name_in_redirect,
    portInRedirect: raw.port_in_redirect,
    serverTokens: raw.server_tokens,
    msiePadding: raw.msie_padding,
    msieRefresh: raw.msie_refresh,
    chunked: raw.chunked_transfer_encoding,
    maxRanges: raw.max_ranges,
    etag: raw.etag,
    ifModifiedSince: raw.if_modified_since,
    gzipVary: raw.gzip_vary,
    gzipHttpVersion: raw.gzip_http_version === "1.0" ? 1000 : 1001,
    gzipProxied: raw.gzip_proxied,
    gzipDisable: { msie6: disablesMsie6(scope), patterns: raw.gzip_disable?.patterns ?? [] },
    limitRate: raw.limit_rate,
    limitRateAfter: raw.limit_rate_after,
    clientBodyTempPath: { ...raw.client_body_temp_path, path: absolute(raw.client_body_temp_path.path) },
    root: fileRoot(scope, coreDirectives.specs, absolute),
    disableSymlinks: raw.disable_symlinks,
    openFileCache: raw.open_file_cache && {
      files: raw.open_file_cache,
      valid: raw.open_file_cache_valid * 1000,
      minUses: raw.open_file_cache_min_uses,
      errors: raw.open_file_cache_errors,
    },
    types: mimeTypes(scope, raw.types),
    defaultType: headText(raw.default_type),
  };
  made.set(raw, settings);
  return settings;
}
