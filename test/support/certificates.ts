import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { have } from "./have.ts";

/** Certificates for tests, made by the `openssl` command. */

/** Why a test that needs them skips. */
export const noOpenssl: string | false = have("openssl");

/** In PEM. */
export interface TestCertificate {
  readonly certificate: string;
  readonly key: string;
}

/** A certificate for this name, signed by itself. */
export function selfSigned(name: string): TestCertificate {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-certificate-"));
  try {
    const certificate = join(directory, "cert.pem");
    const key = join(directory, "key.pem");
    const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", `/CN=${name}`];
    const names = ["-addext", `subjectAltName=DNS:${name}`];
    execFileSync("openssl", ["req", "-x509", ...kind, ...names, "-keyout", key, "-out", certificate], {
      stdio: "pipe",
    });
    return { certificate: readFileSync(certificate, "latin1"), key: readFileSync(key, "latin1") };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** With the files that they are in. */
export interface CertificateFiles extends TestCertificate {
  readonly certificateFile: string;
  readonly keyFile: string;
}

export interface CertificateOptions {
  /** `/CN=name` unless it is given. */
  readonly subject?: string;
  readonly algorithm?: "EC" | "RSA" | "ED25519";
  /** Signed by itself unless it is given. */
  readonly issuer?: CertificateFiles;
  /** Extensions as in openssl.cnf: `subjectAltName=DNS:a.example`. */
  readonly extensions?: readonly string[];
  readonly days?: number;
  readonly serial?: string;
}

const ALGORITHMS = {
  EC: ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
  RSA: ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
  ED25519: ["-algorithm", "ED25519"],
};

/** Runs the openssl program and returns what it prints. */
export function openssl(...args: string[]): string {
  return execFileSync("openssl", args, { encoding: "latin1", stdio: ["ignore", "pipe", "pipe"] });
}

/** A directory that is removed after the test. */
export function certificateDirectory(t: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-certificates-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** Writes `NAME.crt` and `NAME.key` into a directory. */
export function createCertificate(
  directory: string,
  name: string,
  { subject = `/CN=${name}`, algorithm = "EC", issuer, extensions = [], days = 30, serial }: CertificateOptions = {},
): CertificateFiles {
  const certificateFile = join(directory, `${name}.crt`);
  const keyFile = join(directory, `${name}.key`);
  const config = join(directory, `${name}.cnf`);
  openssl("genpkey", ...ALGORITHMS[algorithm], "-out", keyFile);
  writeFileSync(
    config,
    ["[req]", "prompt=no", "utf8=yes", "distinguished_name=dn", "[dn]", "[ext]", ...extensions, ""].join("\n"),
  );
  const request = openssl("req", "-new", "-key", keyFile, "-subj", subject, "-utf8", "-config", config);
  const requestFile = join(directory, `${name}.csr`);
  writeFileSync(requestFile, request);
  openssl(
    ...["x509", "-req", "-in", requestFile, "-days", String(days), "-out", certificateFile],
    ...["-extfile", config, "-extensions", "ext"],
    ...(serial === undefined ? [] : ["-set_serial", serial]),
    ...(issuer === undefined
      ? ["-signkey", keyFile]
      : [
          "-CA",
          issuer.certificateFile,
          "-CAkey",
          issuer.keyFile,
          ...(serial === undefined ? ["-CAcreateserial"] : []),
        ]),
  );
  const [certificate, key] = [certificateFile, keyFile].map((file) => readFileSync(file, "latin1"));
  return { certificate, key, certificateFile, keyFile };
}

/** Revokes the certificates with these serial numbers (hexadecimal); the list in PEM. */
export function createRevocationList(
  directory: string,
  issuer: CertificateFiles,
  revoked: readonly string[] = [],
): string {
  const index = join(directory, "index.txt");
  const config = join(directory, "ca.cnf");
  writeFileSync(
    index,
    revoked.map((serial) => `R\t491231235959Z\t260101000000Z\t${serial}\tunknown\t/CN=revoked\n`).join(""),
  );
  writeFileSync(config, `[ca]\ndefault_ca=own\n[own]\ndatabase=${index}\ndefault_md=sha256\ndefault_crl_days=30\n`);
  return openssl("ca", "-gencrl", "-config", config, "-cert", issuer.certificateFile, "-keyfile", issuer.keyFile);
}

/** A private key in PEM, encrypted. */
export function encryptKey(key: string, password: string): string {
  return openssl("pkcs8", "-topk8", "-in", key, "-passout", `pass:${password}`);
}
