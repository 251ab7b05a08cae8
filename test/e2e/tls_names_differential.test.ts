/** The server of each name in the handshake and each host in the request, and who may not ask it, beside nginx. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { noOpenssl, selfSigned } from "../support/certificates.ts";
import { have } from "../support/have.ts";
import { type Running, startHoldfast, startNginx } from "../support/holdfast.ts";
import { getOverTls } from "../support/tls.ts";

const NAMES = [
  ...[undefined, "default", "optional.example", "Optional.Example", "optional.example.", "x.w.example", "w.example"],
  ...["w.org", "r12.example", "R12.example", "required", "rejected", "none", "a..b", "a@b"],
];
const HOSTS = [
  ...[undefined, "default", "optional.example", "optional.example:8443", "x.w.example", "w.org", "r12.example"],
  ...["r13.example", "required", "rejected", "none"],
];

const config = ([port, lone, captures]: readonly number[]) => `worker_processes 1; http {
  ssl_certificate crt; ssl_certificate_key key; ssl_client_certificate crt; default_type text/plain;
  server { listen 127.0.0.1:${port} ssl; server_name default; return 200 "default $ssl_server_name $host $scheme $https"; }
  server { listen 127.0.0.1:${port} ssl; server_name optional.example; ssl_verify_client optional;
    return 200 "optional $ssl_server_name $ssl_client_verify"; }
  server { listen 127.0.0.1:${port} ssl; server_name .w.example; return 200 "wildcard $ssl_server_name"; }
  server { listen 127.0.0.1:${port} ssl; server_name w.*; error_page 421 =200 @misdirected;
    location / { return 200 "wildcard behind $ssl_server_name"; } location @misdirected { return 200 misdirected; } }
  server { listen 127.0.0.1:${port} ssl; server_name ~^r(?<n>\\d+)\\.(example)$; return 200 "regex $n $2 $ssl_server_name"; }
  server { listen 127.0.0.1:${port} ssl; server_name required; ssl_verify_client on; error_page 496 =200 /496;
    location / { return 200 required; } location = /496 { return 200 "no certificate"; } }
  server { listen 127.0.0.1:${port} ssl; server_name ""; return 200 "unnamed $ssl_server_name"; }
  server { listen 127.0.0.1:${port} ssl; server_name rejected; ssl_reject_handshake on; return 200 rejected; }
  server { listen 127.0.0.1:${lone} ssl; server_name lone; ssl_verify_client optional; return 200 "lone $ssl_server_name"; }
  server { listen 127.0.0.1:${captures} ssl; server_name ~^(r).*$; return 200 "captures $1 $ssl_server_name"; } }`;

/** The status and body of an answer, an error page's without the program's name; or why there is no handshake. */
async function ask(port: number, servername: string | undefined, host: string | undefined): Promise<string> {
  try {
    const { status, body } = await getOverTls(port, "/", host, { servername });
    return `${status} ${body.replace(/<hr>.*/s, "")}`;
  } catch (error) {
    if (error instanceof Error && "code" in error) return String(error.code);
    throw error;
  }
}

async function answers({ ports }: Running): Promise<string[]> {
  const found: string[] = [];
  for (const port of ports.slice(0, 3)) {
    for (const servername of NAMES) {
      const asked = HOSTS.map(async (host) => `${servername} ${host}: ${await ask(port, servername, host)}`);
      found.push(...(await Promise.all(asked)));
    }
  }
  return found;
}

test("names and hosts choose the same servers", { skip: noOpenssl || have("nginx") }, async (t) => {
  const { certificate, key } = selfSigned("localhost");
  const options = { files: { "conf/crt": certificate, "conf/key": key }, config };
  const ours = await answers(await startHoldfast(t, options));
  assert.deepEqual(ours, await answers(await startNginx(t, options)));
  assert.equal(ours.length, 3 * NAMES.length * HOSTS.length);
});
