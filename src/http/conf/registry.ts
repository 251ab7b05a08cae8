import { access } from "../modules/access/access.ts";
import { acme } from "../modules/acme/acme.ts";
import { addition } from "../modules/addition.ts";
import { authBasic } from "../modules/auth_basic/auth_basic.ts";
import { authRequest } from "../modules/auth_request.ts";
import { autoindex } from "../modules/autoindex/autoindex.ts";
import { browser } from "../modules/browser.ts";
import { cacheStatus } from "../modules/cache_status.ts";
import { charset } from "../modules/charset/charset.ts";
import { brotli, brotliStatic } from "../modules/compression/brotli.ts";
import { gunzip } from "../modules/compression/gunzip.ts";
import { gzip } from "../modules/compression/gzip.ts";
import { gzipStatic } from "../modules/compression/gzip_static.ts";
import { zstd, zstdStatic } from "../modules/compression/zstd.ts";
import { dav } from "../modules/dav/dav.ts";
import { earlyHints } from "../modules/early_hints.ts";
import { emptyGif } from "../modules/empty_gif.ts";
import { fastcgi } from "../modules/fastcgi/fastcgi.ts";
import { flv } from "../modules/flv.ts";
import { geo } from "../modules/geo/geo.ts";
import { grpc } from "../modules/grpc.ts";
import { headers } from "../modules/headers/headers.ts";
import { index } from "../modules/index.ts";
import { keyval } from "../modules/keyval.ts";
import { limitConn } from "../modules/limit/limit_conn.ts";
import { limitReq } from "../modules/limit/limit_req.ts";
import { log } from "../modules/log/log.ts";
import { map } from "../modules/map.ts";
import { memcached } from "../modules/memcached.ts";
import { mirror } from "../modules/mirror.ts";
import { mp4 } from "../modules/mp4/mp4.ts";
import { notModified } from "../modules/not_modified.ts";
import { proxy } from "../modules/proxy/proxy.ts";
import { randomIndex } from "../modules/random_index.ts";
import { range } from "../modules/range.ts";
import { realip } from "../modules/realip/realip.ts";
import { referer } from "../modules/referer.ts";
import { rewrite } from "../modules/rewrite/rewrite.ts";
import { scgi } from "../modules/scgi.ts";
import { secureLink } from "../modules/secure_link.ts";
import { slice } from "../modules/slice.ts";
import { splitClients } from "../modules/split_clients.ts";
import { ssi } from "../modules/ssi/ssi.ts";
import { ssl } from "../modules/ssl/ssl.ts";
import { staticFiles } from "../modules/static.ts";
import { stubStatus } from "../modules/stub_status.ts";
import { subFilter } from "../modules/sub_filter/sub_filter.ts";
import { tryFiles } from "../modules/try_files.ts";
import { upstreamVariables } from "../modules/upstream.ts";
import { userid } from "../modules/userid.ts";
import { uwsgi } from "../modules/uwsgi.ts";
import type { HttpModule } from "./module.ts";
import { resolver } from "./resolver.ts";

/** All HTTP modules. Handlers of one phase run in this order. */
export const httpModules: readonly HttpModule[] = [
  realip,
  acme,
  ssl,
  map,
  geo,
  splitClients,
  keyval,
  referer,
  browser,
  secureLink,
  rewrite,
  limitReq,
  limitConn,
  access,
  authBasic,
  authRequest,
  tryFiles,
  mirror,
  earlyHints,
  resolver,
  upstreamVariables,
  proxy,
  fastcgi,
  uwsgi,
  scgi,
  memcached,
  grpc,
  stubStatus,
  cacheStatus,
  emptyGif,
  flv,
  mp4,
  randomIndex,
  index,
  autoindex,
  dav,
  zstdStatic,
  brotliStatic,
  gzipStatic,
  staticFiles,
  slice,
  notModified,
  headers,
  userid,
  charset,
  ssi,
  addition,
  subFilter,
  gunzip,
  zstd,
  brotli,
  gzip,
  range,
  log,
] as readonly HttpModule[];
