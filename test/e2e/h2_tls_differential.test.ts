/** The directives about TLS to servers of HTTP/2, for gRPC and `proxy_http_version 2`, each as in nginx. */
import {
  createSecureServer,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer } from "node:https";
import { createServer as createTcp, type Server } from "node:net";
import { type TestContext, test } from "node:test";
import { TLSSocket } from "node:tls";
import {
  type CertificateFiles,
  certificateDirectory,
  createCertificate,
  createRevocationList,
  encryptKey,
  noOpenssl,
} from "../support/certificates.ts";
import { answerLines } from "../support/h1_transcript.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { aboutServer, LogMarks } from "../support/log_marks.ts";
import { assertAsNginx, type Said } from "../support/recorded_nginx.ts";
import { send } from "../support/tcp.ts";

/** Locations by name: the server, and directives in which `P` stands for the prefix. */
const LOCATIONS: Readonly<Record<string, readonly [server: string, text: string]>> = {
  plain: ["good", ""],
  "server name": ["good", "P_ssl_server_name on;"],
  "server name, another": ["good", "P_ssl_server_name on; P_ssl_name other.example;"],
  "server name of a variable": ["good", "P_ssl_server_name on; P_ssl_name $http_x_name;"],
  "server name that is an address": ["good", "P_ssl_server_name on; P_ssl_name 127.0.0.1;"],
  "server name with a port": ["good", "P_ssl_server_name on; P_ssl_name good.example:8443;"],
  verified: ["good", "P_ssl_verify on; P_ssl_trusted_certificate ca.crt; P_ssl_name good.example;"],
  "verified, another name": ["good", "P_ssl_verify on; P_ssl_trusted_certificate ca.crt; P_ssl_name other.example;"],
  "verified, the address's name": ["good", "P_ssl_verify on; P_ssl_trusted_certificate ca.crt;"],
  "verified, another authority": [
    "good",
    "P_ssl_verify on; P_ssl_trusted_certificate other.crt; P_ssl_name good.example;",
  ],
  "verified, signed by itself": ["lone", "P_ssl_verify on; P_ssl_trusted_certificate ca.crt; P_ssl_name lone.example;"],
  "verified, depth 0": [
    "good",
    "P_ssl_verify on; P_ssl_verify_depth 0; P_ssl_trusted_certificate ca.crt; P_ssl_name good.example;",
  ],
  "verified, too deep": [
    "deep",
    "P_ssl_verify on; P_ssl_verify_depth 0; P_ssl_trusted_certificate ca.crt; P_ssl_name deep.example;",
  ],
  "verified, deep enough": [
    "deep",
    "P_ssl_verify on; P_ssl_verify_depth 1; P_ssl_trusted_certificate ca.crt; P_ssl_name deep.example;",
  ],
  "verified, not revoked": [
    "good",
    "P_ssl_verify on; P_ssl_trusted_certificate ca.crt; P_ssl_crl none.crl; P_ssl_name good.example;",
  ],
  "verified, revoked": [
    "good",
    "P_ssl_verify on; P_ssl_trusted_certificate ca.crt; P_ssl_crl good.crl; P_ssl_name good.example;",
  ],
  "TLSv1.2": ["good", "P_ssl_protocols TLSv1.2;"],
  "TLSv1.3": ["good", "P_ssl_protocols TLSv1.3;"],
  "no protocol in common": ["old", "P_ssl_protocols TLSv1.3;"],
  ciphers: ["good", "P_ssl_protocols TLSv1.2; P_ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256;"],
  "no cipher in common": ["good", "P_ssl_protocols TLSv1.2; P_ssl_ciphers ECDHE-RSA-AES128-GCM-SHA256;"],
  "conf command": ["good", "P_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;"],
  "conf command of a protocol": ["good", "P_ssl_conf_command MaxProtocol TLSv1.2;"],
  certificate: ["asking", "P_ssl_certificate client.crt; P_ssl_certificate_key client.key;"],
  "certificate with a password": [
    "asking",
    "P_ssl_certificate client.crt; P_ssl_certificate_key locked.key; P_ssl_password_file pass;",
  ],
  "certificate of a variable": [
    "asking",
    "P_ssl_certificate $http_x_name.crt; P_ssl_certificate_key $http_x_name.key;",
  ],
  "certificate of a variable, kept": [
    "asking",
    "P_ssl_certificate $http_x_name.crt; P_ssl_certificate_key $http_x_name.key; P_ssl_certificate_cache max=2;",
  ],
  "certificate of a variable, with a password": [
    "asking",
    "P_ssl_certificate $http_x_name.crt; P_ssl_certificate_key locked.key; P_ssl_password_file pass;",
  ],
  "no certificate": ["asking", ""],
  "no certificate by a variable": ["asking", "P_ssl_certificate $http_x_none; P_ssl_certificate_key $http_x_none;"],
  "no such certificate": ["asking", "P_ssl_certificate $http_x_name.none; P_ssl_certificate_key $http_x_name.key;"],
  "no session": ["good", "P_ssl_session_reuse off;"],
  "HTTP/1.1": ["one", ""],
  "no TLS": ["clear", ""],
};
const SCHEMES = { grpc: "grpc_pass grpcs://", proxy: "proxy_http_version 2; proxy_pass https://" };
/** Made twice, the second time to see what is kept. */
const TWICE = ["plain", "no session", "certificate of a variable, kept"];

/** Each in a group of its own: nginx keeps one session for a server of a group, whatever it was made with. */
const ALL = Object.entries(SCHEMES).flatMap(([prefix, pass]) =>
  Object.entries(LOCATIONS).map(([name, [server, text]]) => {
    const id = `${prefix}-${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}`;
    return { id, name, prefix, pass, server, text };
  }),
);

const config =
  (ports: ReadonlyMap<string, number>) =>
  ([listen]: readonly number[]) =>
    `worker_processes 1; http {
  log_format all '$request|$status|$upstream_status'; access_log logs/access.log all; root html;
  ${ALL.map(({ id, server }) => `upstream ${id} { server 127.0.0.1:${ports.get(server)}; keepalive 0; }`).join("\n")}
  server { listen 127.0.0.1:${listen};
    ${ALL.map(({ id, prefix, pass, text }) => `location /${id}/ { ${pass}${id}; ${text.replaceAll("P_", `${prefix}_`)} }`).join("\n")} } }`;

/** The name that the last client has asked for. */
let askedFor = "";

/** A server of HTTP/2 that says what it knows of the connection. */
function tlsServer(t: TestContext, options: SecureServerOptions): Promise<number> {
  const server = createSecureServer({
    ...options,
    SNICallback: (name, done) => {
      askedFor = name;
      done(null);
    },
  });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.on("error", () => {});
  });
  server.on("stream", (stream: ServerHttp2Stream) => {
    stream.on("error", () => {});
    const socket = stream.session?.socket;
    if (!(socket instanceof TLSSocket)) return;
    const client = socket.getPeerCertificate()?.subject?.CN ?? "nobody";
    const known = [
      askedFor === "" ? "no name" : askedFor,
      socket.getProtocol(),
      socket.getCipher().standardName,
      client,
    ];
    stream.respond({ ":status": 200, "content-type": "text/plain" });
    stream.end([...known, socket.isSessionReused() ? "reused" : "new"].join(", "));
  });
  server.on("tlsClientError", () => {});
  return listen(t, server, () => {
    for (const session of sessions) session.destroy();
  });
}

async function listen(t: TestContext, server: Server, close: () => void = () => {}): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    close();
    server.close();
  });
  const at = server.address();
  return typeof at === "object" && at !== null ? at.port : 0;
}

/** OpenSSL 3.5 has another word than those before it. */
function ofAnyVersion(line: string): string {
  return aboutServer(line).replace("::sslv3 alert", "::ssl/tls alert");
}

async function observe(ports: ReadonlyMap<string, number>, server: Running): Promise<Said> {
  const names = Object.fromEntries([...ports].map(([name, port]) => [String(port), name.toUpperCase()]));
  const marks = new LogMarks(server, server.port, names);
  await marks.lines();
  const said = new Map<string, string[]>();
  for (const { id, prefix, name } of ALL) {
    for (const again of TWICE.includes(name) ? ["", ", again"] : [""]) {
      askedFor = "";
      const raw = `GET /${id}/ HTTP/1.1\r\nHost: a\r\nX-Name: client\r\nConnection: close\r\n\r\n`;
      const got = answerLines(await send(server.port, raw));
      said.set(`${prefix}: ${name}${again}`, [...got, ...(await marks.lines()).map(ofAnyVersion)]);
    }
  }
  return said;
}

/** The certificates, and the servers' ports. */
async function prepare(t: TestContext): Promise<{ files: Record<string, string>; ports: Map<string, number> }> {
  const directory = certificateDirectory(t);
  const authority = ["basicConstraints=critical,CA:TRUE"];
  const ca = createCertificate(directory, "ca", { algorithm: "RSA", extensions: authority });
  const other = createCertificate(directory, "other", { extensions: authority });
  const between = createCertificate(directory, "between", { issuer: ca, extensions: authority });
  const named = (name: string, issuer: CertificateFiles | undefined, serial: string) =>
    createCertificate(directory, `${name}.example`, {
      issuer,
      serial,
      extensions: [`subjectAltName=DNS:${name}.example`],
    });
  const good = named("good", ca, "0x11");
  const deep = named("deep", between, "0x12");
  const lone = named("lone", undefined, "0x13");
  const client = createCertificate(directory, "client", { issuer: ca });
  const files = {
    "conf/ca.crt": ca.certificate,
    "conf/other.crt": other.certificate,
    "conf/none.crl": createRevocationList(directory, ca),
    "conf/good.crl": createRevocationList(directory, ca, ["11"]),
    "conf/client.crt": client.certificate,
    "conf/client.key": client.key,
    "conf/locked.key": encryptKey(client.keyFile, "secret"),
    "conf/pass": "secret\n",
  };
  const of = ({ certificate: cert, key }: CertificateFiles): SecureServerOptions => ({ cert, key });
  const one = createServer({ cert: good.certificate, key: good.key }, (_request, response) => response.end("one"));
  const clear = createTcp((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n"));
  });
  return {
    files,
    ports: new Map([
      ["good", await tlsServer(t, of(good))],
      ["lone", await tlsServer(t, of(lone))],
      ["deep", await tlsServer(t, { cert: deep.certificate + between.certificate, key: deep.key })],
      ["old", await tlsServer(t, { ...of(good), maxVersion: "TLSv1.2" })],
      ["asking", await tlsServer(t, { ...of(good), requestCert: true, rejectUnauthorized: false, ca: ca.certificate })],
      ["one", await listen(t, one, () => one.closeAllConnections())],
      ["clear", await listen(t, clear)],
    ]),
  };
}

test("TLS to servers of HTTP/2", { skip: noOpenssl }, async (t) => {
  const { files, ports } = await prepare(t);
  const options = { config: config(ports), files };
  const said = await observe(ports, await startHoldfast(t, options));
  const ask = async (binary: string) => observe(ports, await startNginx(t, options, binary));
  await assertAsNginx("h2_tls", said, ask);
});
