/** A configuration that exercises the rewrite modules, and requests of it; both servers must answer each alike. */

export function config(port: number): string {
  return `http {
  default_type text/plain;
  types { text/css css; }
  log_format none "";
  access_log off;
  map $arg_m $mapped {
    default   none;
    one       1;
    TWO       "two of $arg_m";
    ~^r(?<rest>.*)$  "rest $rest $1";
    ~*^CASE$  caseless;
    \\default escaped;
    ""        empty;
  }
  map $arg_h $by_host {
    hostnames;
    default       none;
    example.com   exact;
    .example.org  dot;
    *.example.net star;
    mail.*        tail;
    ~^re\\.        regex;
  }
  map $arg_v $fresh { volatile; default "<$arg_v>"; }
  map $arg_v $kept { default "<$arg_v>"; }
  map $loop_b $loop_a { default a$loop_b; }
  map $loop_a $loop_b { default b$loop_a; }
  split_clients $arg_c $half { 50% first; * second; }
  split_clients $arg_c $tenth { 10% a; 0.5% b; 89.5% c; }
  map $uri $broken { default 1; }

  server {
    listen 127.0.0.1:${port};
    server_name localhost ~^(?<sub>[a-z]+)\\.sub\\.test$;
    root files;
    set $server_var from_server;
    if ($arg_server_if) { set $server_var changed; }
    if ($arg_server_return) { return 403; }
    rewrite ^/server-last/(.*)$ /echo/$1 last;
    rewrite ^/server-break/(.*)$ /echo/$1 break;
    rewrite ^/server-on/(.*)$ /server-two/$1;
    rewrite ^/server-two/(.*)$ /echo/two-$1;

    location /echo { return 200 "$uri|$args|$request_uri|$server_var|$document_uri|$is_args"; }
    location /last/ { rewrite ^/last/(.*)$ /echo/$1 last; return 200 no; }
    location /last-args/ { rewrite ^/last-args/(.*)$ /echo/$1?x=y last; }
    location /drop/ { rewrite ^/drop/(.*)$ /echo/$1? last; }
    location /drop-args/ { rewrite ^/drop-args/(.*)$ /echo/$1?x=$1&y=$arg_a? last; }
    location /break/ { rewrite ^/break/(.*)$ /echo/$1 break; return 200 "no $uri"; }
    location /break-file/ { rewrite ^/break-file/(.*)$ /$1 break; }
    location /go-on/ { rewrite ^/go-on/(.*)$ /second/$1; rewrite ^/second/(.*)$ /echo/$1-again; return 200 "$uri $1"; }
    location /go-on-break/ { rewrite ^/go-on-break/(.*)$ /echo/$1; break; return 200 no; }
    location /no-match/ { rewrite ^/(x)y $1; return 200 "[$1]$uri"; }
    location /redirect/ { rewrite ^/redirect/(.*)$ /to/$1 redirect; }
    location /redirect-args/ { rewrite ^/redirect-args/(.*)$ /to/$1?x=$1 redirect; }
    location /redirect-drop/ { rewrite ^/redirect-drop/(.*)$ /to/$1? redirect; }
    location /permanent/ { rewrite ^/permanent/(.*)$ http://example.com/$1 permanent; }
    location /url/ { rewrite ^/url/(.*)$ https://example.com/$1; }
    location /scheme/ { rewrite ^/scheme/(.*)$ $scheme://example.com/$uri; return 200 no; }
    location /utf/ { rewrite ^ /to/%C3%A9%20x?y=%20 redirect; }
    location /cycle { rewrite ^ /cycle/; }
    location /empty/ { rewrite ^ $arg_nothing break; }
    location /named/ { rewrite ^/named/(?<who>[^/]*)/(?<what>.*)$ /echo/$what-$who last; }
    location /named-optional/ { if ($uri ~ "^/named-optional/(?<left>a)?(?<right>b)?") { return 200 "[$left][$right]"; } }

    location /return-204 { return 204; }
    location /return-text { return 200 "text $arg_a"; }
    location /return-empty { return 200; }
    location /return.css { return 200 "css"; }
    location /return-404 { return 404; }
    location /return-404-text { return 404 "gone $arg_a"; }
    location /return-418 { return 418; }
    location /return-418-text { return 418 "teapot"; }
    location /return-301 { return 301 /to?$args; }
    location /return-302 { return 302 relative/path; }
    location /return-303 { return 303 http://example.com$request_uri; }
    location /return-307 { return 307 /to; }
    location /return-308 { return 308 //host/x; }
    location /return-url { return https://example.com/$arg_a; }
    location /return-scheme { return $scheme://$host$uri; }
    location /return-301-empty { return 301; }
    location /return-500 { return 500; }
    location /return-410-page { error_page 410 =200 /echo/page; return 410; }
    location /return-411-page { error_page 411 /echo/page?from=page; return 411; }
    location /return-412-named { error_page 412 = @named; return 412; }
    location /return-413-url { error_page 413 https://example.com/too-large; return 413; }
    location /return-413-text { error_page 413 /echo/page; return 413 "text with page"; }
    location /return-404-code { error_page 404 =301 http://example.com/moved; return 404; }
    location /return-405-var { error_page 405 /echo/$arg_a?b=$arg_a; return 405; }
    location /return-twice { error_page 404 /return-500-page; return 404; }
    location /return-500-page { error_page 500 /echo/second; return 500; }
    location /return-recursive { recursive_error_pages on; error_page 404 /return-recursive-two; return 404; }
    location /return-recursive-two { recursive_error_pages on; error_page 500 =201 /echo/second; return 500; }
    location @named { return 200 "named $uri $args"; }

    location /if {
      set $said "";
      if ($arg_a) { set $said "$said true"; }
      if ($arg_a = "b") { set $said "$said equal"; }
      if ($arg_a != "b") { set $said "$said differs"; }
      if ($arg_a ~ "^B(.*)") { set $said "$said match:$1"; }
      if ($arg_a ~* "^B(.*)") { set $said "$said caseless:$1"; }
      if ($arg_a !~ "^b") { set $said "$said no-match"; }
      if ($arg_a !~* "^B") { set $said "$said no-caseless"; }
      if ( $arg_a = $arg_b ) { set $said "$said same"; }
      if ($arg_a ~ (x|y)$) { set $said "$said xy"; }
      return 200 "$said";
    }
    location /file-tests {
      set $said "";
      if (-f $document_root/$arg_f) { set $said "$said f"; }
      if (!-f $document_root/$arg_f) { set $said "$said !f"; }
      if (-d $document_root/$arg_f) { set $said "$said d"; }
      if (!-d $document_root/$arg_f) { set $said "$said !d"; }
      if (-e $document_root/$arg_f) { set $said "$said e"; }
      if (!-e $document_root/$arg_f) { set $said "$said !e"; }
      if (-x $document_root/$arg_f) { set $said "$said x"; }
      if (!-x $document_root/$arg_f) { set $said "$said !x"; }
      return 200 $said;
    }
    location /if-root/ {
      if ($arg_other) { root other; }
      if ($arg_break) { break; }
      rewrite ^/if-root/(.*) /$1 break;
    }
    location /if-return { if ($request_method = POST) { return 405; } return 200 "$request_method"; }
    location /if-last/ { if ($arg_a) { rewrite ^/if-last/(.*) /echo/if-$1 last; } return 200 stayed; }
    location /if-error { error_page 404 /echo/outer; if ($arg_a) { error_page 404 /echo/inner; return 404; } return 404; }

    location /set-args { set $args "x=1&y=2"; rewrite ^ /echo/set-args last; }
    location /set-self { set $a one; set $a "$a two"; set $a "\${a}three"; return 200 $a; }
    location /set-unset { if ($arg_never) { set $unset x; } return 200 "[$unset]"; }
    location /set-http { set $http_x_set y; return 200 $http_x_set; }
    location /set-http-not { if ($arg_never) { set $http_x_not y; } return 200 "[$http_x_not]"; }
    location /set-map { set $mapped assigned; return 200 "$mapped"; }
    location /set-number { set $n 007; if ($n) { return 200 "$n"; } }
    location /set-zero { set $n 0; if ($n) { return 200 yes; } return 200 no; }
    location /set-case { set $CamelCase x; return 200 "$camelcase$CAMELCASE"; }
    location /quoted/ { rewrite ^/quoted/(.*)$ /echo/$1?x=$1 last; }
    location /quoted-redirect/ { rewrite ^/quoted-redirect/(.*)$ /to/$1?x=$1 redirect; }
    location /quoted-if/ { if ($uri ~ ^/quoted-if/(.*)$) { set $captured $1; return 200 "$captured $1"; } }
    location /quoted-later/ { rewrite ^/quoted-later/(.*)$ /quoted-later/$1; set $captured $1; return 200 "$captured"; }
    location ~ ^/regex/(?<first>[^/]*)/(.*)$ { return 200 "$first $1 $2"; }
    location ~ ^/regex-rewrite/(.*)$ { rewrite ^/regex(.*)$ /echo$1-$2 last; }
    location /host { return 200 "$host $sub"; }

    location /map { return 200 "$mapped|$1"; }
    location /map-host { return 200 $by_host; }
    location /map-volatile { set $one "$fresh$kept"; set $args "v=2"; return 200 "$one $fresh$kept"; }
    location /map-loop { return 200 "[$loop_a]"; }
    location /split { return 200 "$half $tenth"; }

    location /try/ { try_files $uri $uri/ /echo/fallback?a=b; }
    location /try-code/ { try_files $uri =404; }
    location /try-code-410/ { try_files /nothing =410; }
    location /try-named/ { try_files /nothing/$arg_a @named; }
    location /try-dir/ { try_files /nothing /dir/ /echo/none; return 200 no; }
    location /try-var/ { try_files /nothing /echo/$arg_a?x=$arg_a; }
    location /try-no-args/ { try_files /nothing /echo/x; }
    location /try-args/ { try_files /nothing /echo/x?$args; }
    location /try-file { try_files /$arg_f /echo/none; }
    location /try-rewritten/ { rewrite ^/try-rewritten/(.*)$ /$1 break; try_files $uri =404; }
    location /alias/ { alias other/; try_files $uri $uri/ /echo/alias; }
    location /alias-plain/ { alias other/; }
    location /alias-var/ { alias $document_dir/other/; }
    location ~ ^/alias-regex/(.*)$ { alias other/$1; }
    location ~ ^/alias-try/(.*)$ { alias other/; try_files $1 /echo/alias-try; }
    location /alias-rewritten/ { alias other/; rewrite ^ /somewhere break; }
    location /paths { return 200 "$request_filename $document_root $realpath_root"; }
    location /alias-paths/ { alias other/; return 200 "$request_filename $document_root"; }
    location ~ ^/alias-regex-paths/(.*)$ { alias other/$1; return 200 "$request_filename"; }
    location /root-var/ { root $arg_r; return 200 "$request_filename"; }
    location /relative-var/ { root "files/$arg_r"; return 200 "$request_filename"; }
    location /internal { internal; return 200 internal; }
    location /to-internal { rewrite ^ /internal last; }
    location = /exact { return 200 exact; }
    location /outer { location /outer/inner { return 200 inner; } rewrite ^ /echo/outer last; }
    location /counters { stub_status; if ($arg_a) { set $b c; } }
    set $document_dir "";
  }
}
`;
}

export const FILES = {
  "files/a.txt": "file a",
  "files/dir/index.html": "index of dir",
  "files/try/a.txt": "try a",
  "files/try/dir/index.html": "index of try/dir",
  "files/try-code/a.txt": "try-code a",
  "other/a.txt": "other a",
  "other/sub/a.txt": "other sub a",
  "other/dir/index.html": "index of other/dir",
} as const;

/** Requests: a path, or `METHOD path`, and a field after a space. */
export const REQUESTS: readonly string[] = [
  "/server-last/x?a=b", "/server-break/x", "/server-on/x?q", "/echo/x?server_if=1", "/echo?server_return=1",
  "/last/x?a=b", "/last/a%20b?c=d", "/last-args/x?a=b", "/last-args/x", "/drop/x?a=b", "/drop-args/a+b?a=1", "/break/x",
  "/break-file/a.txt", "/break-file/none", "/go-on/x?a", "/go-on-break/x", "/no-match/x",
  "/redirect/x?a=b", "/redirect/a%20b%3F%26", "/redirect/a+b", "/redirect/%C3%A9", "/redirect-args/a%20b?c=d", "/redirect-args/x",
  "/redirect-drop/x?a=b", "/permanent/x?a=b", "/url/x?a", "/scheme/x", "/utf/", "/cycle", "/empty/x", "/named/me/that", "/named/me",
  "/named-optional/ab", "/named-optional/b", "/named-optional/a", "/named-optional/",
  "/return-204", "/return-text?a=1", "/return-empty", "/return.css", "/return-404", "/return-404-text?a=1", "/return-418", "/return-418-text",
  "/return-301?a=b", "/return-302", "/return-303?a=b", "/return-307", "/return-308", "/return-url?a=b", "/return-scheme", "/return-301-empty", "/return-500",
  "/return-410-page", "/return-411-page?a=b", "/return-412-named?x=y", "/return-413-url", "/return-413-text", "/return-404-code",
  "/return-405-var?a=z", "/return-twice", "/return-recursive", "HEAD /return-text", "POST /return-text", "PUT /return-411-page",
  "/if", "/if?a=0", "/if?a=b", "/if?a=B", "/if?a=bx&b=bx", "/if?a=", "/if?a=00",
  "/file-tests?f=a.txt", "/file-tests?f=dir", "/file-tests?f=none", "/file-tests?f=a.txt/x", "/file-tests?f=",
  "/if-root/a.txt", "/if-root/a.txt?other=1", "/if-root/a.txt?break=1", "/if-return", "POST /if-return", "/if-last/x", "/if-last/x?a=1",
  "/if-error", "/if-error?a=1",
  "/set-args?z=1", "/set-self", "/set-unset", "/set-http", "/set-http-not", "/set-http-not X-Not: there", "/set-map?m=one", "/set-number", "/set-zero", "/set-case",
  "/quoted/a%20b", "/quoted/a+b", "/quoted/a%26b%3Fc", "/quoted/plain", "/quoted/%25", "/quoted-redirect/a%20b", "/quoted-redirect/a+b", "/quoted-redirect/plain",
  "/quoted-redirect/%C3%A9%25%3F%26%3D", "/quoted-if/a%20b", "/quoted-if/a+b", "/quoted-if/plain", "/quoted-later/a%20b",
  "/regex/x/y%20z", "/regex-rewrite/x", "/host Host: www.sub.test", "/host Host: LOCALHOST:1", "/host",
  "/map", "/map?m=one", "/map?m=ONE", "/map?m=two", "/map?m=rabc", "/map?m=Rabc", "/map?m=cASe", "/map?m=default", "/map?m=", "/map?m=x",
  "/map-host?h=example.com", "/map-host?h=example.com.", "/map-host?h=EXAMPLE.com", "/map-host?h=a.example.com", "/map-host?h=example.org", "/map-host?h=a.b.example.org",
  "/map-host?h=example.net", "/map-host?h=a.example.net", "/map-host?h=mail.x.y", "/map-host?h=re.x", "/map-host?h=", "/map-volatile?v=1",
  "/split?c=a", "/split?c=b", "/split?c=abcdefg", "/split?c=xyz1", "/split", "/split?c=%FF%FE",
  "/try/a.txt", "/try/dir", "/try/dir/", "/try/none?x=y", "/try-code/a.txt", "/try-code/none", "/try-code-410/", "/try-named/x?a=b", "/try-dir/x", "/try-var/?a=q",
  "/try-no-args/?a=q", "/try-args/?a=q", "/try-file?f=a.txt", "/try-file?f=dir", "/try-file?f=none", "/try-rewritten/a.txt", "/try-rewritten/none",
  "/alias/a.txt", "/alias/none", "/alias/dir", "/alias/dir/", "/alias-plain/a.txt", "/alias-plain/sub/a.txt", "/alias-plain/none",
  "/alias-regex/a.txt", "/alias-regex/sub/a.txt", "/alias-try/a.txt", "/alias-try/none", "/alias-rewritten/a.txt",
  "/paths/a?b", "/alias-paths/x/y", "/alias-regex-paths/x/y", "/root-var/x?r=/a/b", "/root-var/x?r=a/b", "/relative-var/x?r=c",
  "/internal", "/to-internal", "/exact", "/exact/", "/outer/x", "/outer/inner", "/counters", "/counters?a=1",
]; // biome-ignore format: a table
