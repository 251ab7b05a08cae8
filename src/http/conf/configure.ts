/** nginx's HTTP modules that are built in unless `--without-http_NAME_module` says otherwise. */
const DEFAULT = [
  "access",
  "auth_basic",
  "autoindex",
  "browser",
  "charset",
  "empty_gif",
  "fastcgi",
  "geo",
  "grpc",
  "gzip",
  "limit_conn",
  "limit_req",
  "map",
  "memcached",
  "mirror",
  "proxy",
  "referer",
  "rewrite",
  "scgi",
  "split_clients",
  "ssi",
  "tunnel",
  "upstream_hash",
  "upstream_ip_hash",
  "upstream_keepalive",
  "upstream_least_conn",
  "upstream_least_time",
  "upstream_random",
  "upstream_sticky",
  "upstream_zone",
  "userid",
  "uwsgi",
];

/** Those that `--with-http_NAME_module` adds. */
const OPTIONAL = [
  "addition",
  "auth_request",
  "dav",
  "degradation",
  "flv",
  "geoip",
  "gunzip",
  "gzip_static",
  "image_filter",
  "mp4",
  "perl",
  "random_index",
  "realip",
  "secure_link",
  "slice",
  "ssl",
  "stub_status",
  "sub",
  "v2",
  "v3",
  "xslt",
];

/** Directives that show that a module is there, for tables that hold more than one module. */
const BY_DIRECTIVE: Readonly<Record<string, string>> = {
  upstream_hash: "hash",
  upstream_ip_hash: "ip_hash",
  upstream_keepalive: "keepalive",
  upstream_least_conn: "least_conn",
  upstream_least_time: "least_time",
  upstream_random: "random",
  upstream_sticky: "sticky",
  upstream_zone: "zone",
};

/** Modules of `--with-mail` and `--with-stream`, which can be left out of an nginx built with those. */
const OTHER = [
  "mail_pop3",
  "mail_imap",
  "mail_smtp",
  "stream_access",
  "stream_geo",
  "stream_limit_conn",
  "stream_map",
  "stream_pass",
  "stream_return",
  "stream_set",
  "stream_split_clients",
  "stream_upstream_hash",
  "stream_upstream_least_conn",
  "stream_upstream_least_time",
  "stream_upstream_random",
  "stream_upstream_zone",
];

/** What is needed of a table of directives. */
interface Part {
  /** nginx's module name without `ngx_` and `_module`. */
  readonly name: string;
  readonly specs: Readonly<Record<string, unknown>>;
}

/** The `./configure` arguments of an nginx with the same modules: scripts read `nginx -V` to see what it can do. */
export function configureArguments(tables: readonly Part[]): string[] {
  const names = new Set(tables.map(({ name }) => name));
  const has = (module: string): boolean => {
    const directive = BY_DIRECTIVE[module];
    // A filter's name is longer than its option: ngx_http_charset_filter_module.
    if (directive === undefined) return names.has(`http_${module}`) || names.has(`http_${module}_filter`);
    return tables.some(({ name, specs }) => name.startsWith("http_upstream") && directive in specs);
  };
  const cache = tables.some(({ specs }) => "proxy_cache_path" in specs);
  return [
    ...OPTIONAL.filter(has).map((module) => `--with-http_${module}_module`),
    ...(cache ? [] : ["--without-http-cache"]),
    ...DEFAULT.filter((module) => !has(module)).map((module) => `--without-http_${module}_module`),
    ...OTHER.filter((module) => !names.has(module)).map((module) => `--without-${module}_module`),
  ];
}
