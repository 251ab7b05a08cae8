/** A request's bytes, what nginx 1.31 answers (1: taken, 0: waits for more) and, where told, its sentence for the log. */
export interface Nasty {
  raw: string;
  status: number;
  error?: string;
  /** What nginx 1.22 answers where the two differ. */
  old?: number;
}

const HOST = "Host: a\r\n";
const with11 = (line: string, fields = HOST): string => `${line}\r\n${fields}\r\n`;
const get = (fields: string): string => `GET / HTTP/1.1\r\n${fields}\r\n`;
const bad = (raw: string, error?: string): Nasty => ({ raw, status: 400, error });
const fine = (raw: string): Nasty => ({ raw, status: 1 });

const METHOD = "client sent invalid method";
const REQUEST = "client sent invalid request";

export const NASTY: readonly Nasty[] = [
  // Request lines.
  fine(with11("GET / HTTP/1.1")),
  fine(`\r\n\n\r\n${with11("GET / HTTP/1.1")}`),
  fine(with11("GET   /   HTTP/1.1  ")),
  fine("GET / HTTP/1.1\nHost: a\n\n"),
  fine("GET / HTTP/1.0\r\n\r\n"),
  fine("GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
  fine("GET /\r\n"),
  fine("GET / \n"),
  fine("GET /a%zz HTTP/1.0\r\n\r\n"),
  fine(with11("M-SEARCH /x HTTP/1.1")),
  fine(with11("_X /x HTTP/1.1")),
  fine(with11("GET /\xe9\xff HTTP/1.1")),
  fine(with11('GET /"<>\\^`{|} HTTP/1.1')),
  fine(with11("GET http://a HTTP/1.1")),
  fine(with11("GET HTTP+x.y-1://A-b.c:123?x HTTP/1.1")),
  fine(with11("GET http://[::1.2_~!$&'()*+,;=]:/ HTTP/1.1")),
  fine(with11("OPTIONS /* HTTP/1.1")),
  bad("\x16\x03\x01\x02", METHOD),
  bad("get / HTTP/1.1\r\n", METHOD),
  bad("G3T / HTTP/1.1\r\n", METHOD),
  bad(" GET / HTTP/1.1\r\n", METHOD),
  bad("GET\t/ HTTP/1.1\r\n", METHOD),
  bad("GET\r\n", METHOD),
  bad("GET \r\n", REQUEST),
  bad("OPTIONS * HTTP/1.1\r\n", REQUEST),
  bad("GET *", REQUEST),
  bad("GET ?a HTTP/1.1\r\n", REQUEST),
  bad("GET / HTTP/1.1 x\r\n", REQUEST),
  bad("GET / HTTP/1.1\rx", REQUEST),
  bad("GET / HTTP/1.1\r\r\n", REQUEST),
  bad("GET /\rX", REQUEST),
  bad("GET /\0 HTTP/1.1\r\n", REQUEST),
  bad("GET /a\tb HTTP/1.1\r\n", REQUEST),
  bad("GET /a?\x7f HTTP/1.1\r\n", REQUEST),
  bad("GET /a b HTTP/1.1\r\n", REQUEST),
  bad("GET / http/1.1\r\n", REQUEST),
  bad("GET / HTTX/1.1\r\n", REQUEST),
  bad("GET / HTTP 1.1\r\n", REQUEST),
  bad("GET / HTTP/1\r\n", REQUEST),
  bad("GET / HTTP/0.9\r\n", REQUEST),
  bad("GET / HTTP/1.x\r\n", REQUEST),
  bad("GET / HTTP/1.1000\r\n", REQUEST),
  { raw: "GET / HTTP/2.0\r\n", status: 505, error: "client sent invalid version" },
  { raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 400, error: REQUEST },
  { raw: "GET / HTTP/11.1\r\n", status: 505 },
  bad("POST /\r\n", "client sent invalid method in HTTP/0.9 request"),
  bad("GET http:/a/ HTTP/1.1\r\n", REQUEST),
  bad("GET http//a/ HTTP/1.1\r\n", REQUEST),
  bad("GET http://a_b/ HTTP/1.1\r\n", REQUEST),
  bad("GET http://u@a/ HTTP/1.1\r\n", REQUEST),
  bad("GET http://[::1 /\r\n", REQUEST),
  bad("GET http://a:x/ HTTP/1.1\r\n", REQUEST),
  bad(with11("GET http:/// HTTP/1.1"), "client sent invalid host in request line"),
  bad(with11("GET http://a..b/ HTTP/1.1"), "client sent invalid host in request line"),
  bad(with11("GET http://./ HTTP/1.1"), "client sent invalid host in request line"),
  { ...bad(with11("GET http://a:65536/ HTTP/1.1"), "client sent invalid host in request line"), old: 1 },
  // CONNECT and TRACE.
  { raw: "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", status: 405, error: "client sent CONNECT method", old: 400 },
  { raw: "CONNECT a:1 HTTP/1.0\r\nHost: a\r\n\r\n", status: 405, error: "client sent CONNECT method", old: 400 },
  bad("CONNECT a HTTP/1.1\r\n", REQUEST),
  bad("CONNECT a: HTTP/1.1\r\n", REQUEST),
  { ...bad("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST), old: 405 },
  { raw: with11("TRACE / HTTP/1.1"), status: 405, error: "client sent TRACE method" },
  // Fields.
  fine(get("Host:a\r\nX:\r\nY: \r\nZ:   v   \r\n")),
  fine(get("Host: a\r\nNo-Colon\r\n")),
  fine(get("Host: a\r\nX: a\tb\xe9\r\n")),
  fine(get("Host: a\r\nX-(odd): v\r\n")),
  bad(get("")),
  bad(get("X: y\r\n"), 'client sent HTTP/1.1 request without "Host" header'),
  bad(get(`${HOST} folded: x\r\n`), 'client sent invalid header line: "\\x20..."'),
  bad(get(`${HOST}\tx\r\n`), 'client sent invalid header line: "\\x09..."'),
  bad(get(`${HOST}X : y\r\n`), 'client sent invalid header line: "X\\x20..."'),
  bad(get(`${HOST}X\t: y\r\n`), 'client sent invalid header line: "X\\x09..."'),
  bad(get(`${HOST}: y\r\n`), 'client sent invalid header line: "\\x3a..."'),
  bad(get(`${HOST}X\0: y\r\n`), 'client sent invalid header line: "X\\x00..."'),
  bad(get(`${HOST}X: a\0b\r\n`), 'client sent invalid header line: "X: a\\x00..."'),
  bad(get(`${HOST}X: a\rb\r\n`)),
  bad(get(`${HOST}X\r: b\r\n`)),
  bad(`GET / HTTP/1.1\r\n${HOST}\rx`),
  // RFC 9110 section 5.5 lets a recipient keep control bytes other than these.
  fine(get(`${HOST}X: a\x01b\r\n`)),
  fine(get(`${HOST}X: \x1f\x7f\r\n`)),
  fine(get(`${HOST}X: a\r\r\n`)),
  // Host.
  fine(get("Host: A.b-c_d.:8080\r\n")),
  fine(get("Host: [::1]:80\r\n")),
  fine("GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
  bad(get("Host:\r\n"), "client sent invalid host header"),
  bad(get("Host: a/b\r\n"), "client sent invalid host header"),
  bad(get("Host: a b\r\n"), "client sent invalid host header"),
  { ...bad(get("Host: a@b\r\n"), "client sent invalid host header"), old: 1 },
  bad(get("Host: a..b\r\n"), "client sent invalid host header"),
  { ...bad(get("Host: a:99999\r\n"), "client sent invalid host header"), old: 1 },
  { ...bad(get("Host: a:b\r\n"), "client sent invalid host header"), old: 1 },
  { ...bad(get("Host: [::1\r\n"), "client sent invalid host header"), old: 1 },
  bad(get("Host: a\r\nhost: a\r\n"), 'client sent duplicate host header: "host: a", previous value: "Host: a"'),
  // Framing.
  fine(get(`${HOST}Content-Length: 0\r\n`)),
  fine(get(`${HOST}Content-Length: 00012\r\n`)),
  fine(get(`${HOST}Transfer-Encoding: Chunked\r\n`)),
  bad(get(`${HOST}Content-Length: -1\r\n`), 'client sent invalid "Content-Length" header'),
  bad(get(`${HOST}Content-Length: +1\r\n`), 'client sent invalid "Content-Length" header'),
  bad(get(`${HOST}Content-Length: 1, 1\r\n`), 'client sent invalid "Content-Length" header'),
  bad(get(`${HOST}Content-Length: 0x1\r\n`), 'client sent invalid "Content-Length" header'),
  bad(get(`${HOST}Content-Length:\r\n`), 'client sent invalid "Content-Length" header'),
  bad(get(`${HOST}Content-Length:\t1\r\n`), 'client sent invalid "Content-Length" header'),
  bad(get(`${HOST}Content-Length: 99999999999999999999\r\n`), 'client sent invalid "Content-Length" header'),
  bad(
    get(`${HOST}Content-Length: 1\r\nContent-length: 1\r\n`),
    'client sent duplicate header line: "Content-length: 1", previous value: "Content-Length: 1"',
  ),
  bad(
    get(`${HOST}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n`),
    'client sent "Content-Length" and "Transfer-Encoding" headers at the same time',
  ),
  bad(get(`${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n`)),
  bad(
    `POST / HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n`,
    'client sent HTTP/1.0 request with "Transfer-Encoding" header',
  ),
  {
    raw: get(`${HOST}Transfer-Encoding: gzip, chunked\r\n`),
    status: 501,
    error: 'client sent unknown "Transfer-Encoding": "gzip, chunked"',
  },
  { raw: get(`${HOST}Transfer-Encoding: identity\r\n`), status: 501 },
  { raw: get(`${HOST}Transfer-Encoding: chunked\t\r\n`), status: 501 },
  { raw: get(`${HOST}Transfer-Encoding:\r\n`), status: 501 },
  fine(get(`${HOST}Transfer_Encoding: chunked\r\nContent_Length: 9\r\n`)),
  // Fields that may be there once.
  ...["If-Modified-Since", "If-Match", "If-None-Match", "If-Range", "Expect", "Authorization", "Content-Range"].map(
    (name) => bad(get(`${HOST}${name}: 1\r\n${name}: 1\r\n`)),
  ),
  fine(get(`${HOST}Referer: 1\r\nReferer: 1\r\nUser-Agent: a\r\nUser-Agent: b\r\n`)),
  // Not over yet.
  { raw: "", status: 0 },
  { raw: "\r\n\r\n", status: 0 },
  { raw: "GET / HTTP/1.1\r\nHost: a\r\n", status: 0 },
  { raw: "GET / HTTP/1.1\r\nHost: a\r\n\r", status: 0 },
];
