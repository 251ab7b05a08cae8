import { enumeration, file, number } from "../../config/directives.ts";
import type { Context } from "../../config/types.ts";

const IN: readonly Context[] = ["cluster"];

/** TLS between the nodes, in a `cluster` block. */
export const tlsDirectives = {
  ssl: enumeration({
    in: IN,
    values: ["on", "optional"],
    default: "on",
    doc: "With `ssl_certificate`, what that means for the group's messages: `on` has them go over TLS only; `optional`, while TLS is introduced on one node after the other, has this node answer in clear as well, and ask over TLS only whom it knows to answer so.",
  }),
  ssl_certificate: file({
    in: IN,
    doc: "A file with this node's certificate and its chain, in PEM. The group's messages then go over TLS 1.3, on which both sides show a certificate: it must be issued by `ssl_trusted_certificate`, and be for the node's name, the host of its address, or the name in `resolve`.",
  }),
  ssl_certificate_key: file({ in: IN, doc: "The certificate's private key, in PEM. Only the master reads it." }),
  ssl_password_file: file({ in: IN, doc: "Passwords of the private key, one a line. Only the master reads it." }),
  ssl_trusted_certificate: file({
    in: IN,
    doc: "A file with the authorities, in PEM, by which the certificates of nodes are verified.",
  }),
  ssl_crl: file({ in: IN, doc: "A file with lists of revoked certificates, in PEM." }),
  ssl_verify_depth: number({
    in: IN,
    default: 1,
    doc: "How many certificates of authorities there may be between a node's certificate and one that is trusted.",
  }),
};
