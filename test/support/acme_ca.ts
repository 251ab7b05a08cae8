import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";

/** A certificate authority for tests: the `openssl` command signs what is asked for. */
export class TestCa {
  /** PEM of its own certificate, and of one with the same key that another root has issued. */
  readonly certificate: string;
  readonly crossSigned: string;
  readonly #directory: string;

  constructor(t: TestContext) {
    this.#directory = mkdtempSync(join(tmpdir(), "holdfast-ca-"));
    t.after(() => rmSync(this.#directory, { recursive: true, force: true }));
    this.#openssl(["req", "-x509", ...NEW_KEY, "-subj", "/CN=Test Root", "-keyout", "ca.key", "-out", "ca.crt"]);
    this.#openssl(["req", "-x509", ...NEW_KEY, "-subj", "/CN=Other Root", "-keyout", "other.key", "-out", "other.crt"]);
    this.#openssl(["req", "-new", "-key", "ca.key", "-subj", "/CN=Test Root", "-out", "ca.csr"]);
    this.#openssl(["x509", "-req", "-in", "ca.csr", "-CA", "other.crt", "-CAkey", "other.key", "-out", "cross.crt"]);
    this.certificate = this.#read("ca.crt");
    this.crossSigned = this.#read("cross.crt");
  }

  /** The certificate for a request in DER, valid for 90 days. Throws Error where openssl does not take the request. */
  sign(request: Buffer): string {
    writeFileSync(join(this.#directory, "request.der"), request);
    writeFileSync(join(this.#directory, "extensions"), "authorityKeyIdentifier=keyid\n");
    const from = ["-req", "-inform", "DER", "-in", "request.der", "-CA", "ca.crt", "-CAkey", "ca.key"];
    const how = ["-days", "90", "-copy_extensions", "copy", "-extfile", "extensions", "-out", "signed.crt"];
    this.#openssl(["x509", ...from, ...how]);
    return this.#read("signed.crt");
  }

  /** What `openssl req -text` says of a request, whose signature is checked. */
  describe(request: Buffer): string {
    writeFileSync(join(this.#directory, "request.der"), request);
    return this.#openssl(["req", "-inform", "DER", "-in", "request.der", "-verify", "-noout", "-text"]);
  }

  #openssl(args: readonly string[]): string {
    return execFileSync("openssl", args, { cwd: this.#directory, stdio: "pipe", encoding: "latin1" });
  }

  #read(name: string): string {
    return readFileSync(join(this.#directory, name), "latin1");
  }
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];

/** The subject's alternative names: `DNS:example.test, IP Address:127.0.0.1`. */
export function namesOf(certificate: string): string | undefined {
  return new X509Certificate(certificate).subjectAltName;
}

/** The name of RFC 9773 section 4.1: `openssl`'s text of the issuer's key and the serial number, in base64url. */
export function identifierOf(certificate: string): string {
  const text = execFileSync("openssl", ["x509", "-noout", "-serial", "-ext", "authorityKeyIdentifier"], {
    input: certificate,
    encoding: "latin1",
  });
  const [, key] = /^\s+(?:keyid:)?((?:[0-9A-F]{2}:?){20})/m.exec(text) ?? [];
  const [, serial] = /^serial=([0-9A-F]+)$/m.exec(text) ?? [];
  const sign = Number.parseInt(serial[0], 16) >= 8 ? "00" : "";
  const parts = [key.replaceAll(":", ""), sign + serial];
  return parts.map((hex) => Buffer.from(hex, "hex").toString("base64url")).join(".");
}
