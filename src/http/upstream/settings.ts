import type { FieldSet } from "../../wire/http1/field_set.ts";
import type { Template } from "../core/script.ts";
import type { TempPath } from "../core/temp_file.ts";

/** What every protocol that passes requests to servers shares (proxy_*, later fastcgi_*, uwsgi_*, scgi_*). Times in ms. */
export interface UpstreamSettings {
  readonly connectTimeout: number;
  readonly sendTimeout: number;
  readonly readTimeout: number;
  readonly buffering: boolean;
  readonly requestBuffering: boolean;
  /** The largest head of a response. */
  readonly bufferSize: number;
  /** Body bytes held in memory for a client slower than the server. */
  readonly memory: number;
  readonly tempPath: TempPath;
  /** 0: none. */
  readonly maxTempFile: number;
  /** The most written to it at once. */
  readonly tempWriteSize: number;
  /** `early_hints`: 103 responses are passed on where one of these is neither empty nor 0. */
  readonly earlyHints: readonly Template[];
  readonly limitRate: Template | undefined;
  readonly next: ReadonlySet<string>;
  /** 0: as many as there are. */
  readonly nextTries: number;
  /** 0: no limit. */
  readonly nextTimeout: number;
  readonly interceptErrors: boolean;
  readonly ignoreClientAbort: boolean;
  readonly passRequestBody: boolean;
  readonly passTrailers: boolean;
  readonly forceRanges: boolean;
  readonly socketKeepalive: boolean;
  readonly bind: { readonly address: Template; readonly transparent: boolean } | undefined;
  /** Response fields that are not passed on, those of a connection included. */
  readonly hidden: FieldSet;
  /** Lower-case names of response fields that are not acted upon. */
  readonly ignored: ReadonlySet<string>;
}
