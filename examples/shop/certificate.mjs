// A certificate for localhost, signed by itself: `node certificate.mjs FOLDER` writes localhost.crt and localhost.key there.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generate } from "selfsigned";

const DAYS = 30;

const [folder] = process.argv.slice(2);
const names = [
  { type: 2, value: "localhost" },
  { type: 7, ip: "127.0.0.1" },
];
const { cert, private: key } = await generate([{ name: "commonName", value: "localhost" }], {
  keyType: "ec",
  curve: "P-256",
  algorithm: "sha256",
  notAfterDate: new Date(Date.now() + DAYS * 24 * 3600 * 1000),
  extensions: [{ name: "subjectAltName", altNames: names }],
});
writeFileSync(join(folder, "localhost.crt"), cert);
writeFileSync(join(folder, "localhost.key"), key, { mode: 0o600 });
