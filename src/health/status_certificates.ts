import type { CertificateStatus } from "../http/conf/module.ts";
import { html, moment } from "../http/core/page.ts";
import { age, failure } from "./status_text.ts";

const COLUMNS = ["Names", "Issuer", "State", "Valid until", "Next attempt", "Last error"];

/** The page's style goes by a cell's place in the table of servers: here every place is given another meaning. */
export const CERTIFICATES_STYLE = `
  h2.part { font-size: 1.05rem; font-weight: 600; color: var(--ink); margin: 1.8rem 0 .7rem }
  .certificates th:nth-child(n), .certificates td:nth-child(n) { text-align: left; white-space: normal; overflow-wrap: break-word }
  .certificates td:nth-child(n) { font-weight: 400; color: inherit; min-width: 0 }
  .certificates td:nth-child(n)::before { content: none }
  .certificates td:nth-child(1) { font-weight: 600; min-width: 8rem; overflow-wrap: anywhere } .certificates td:nth-child(6) { min-width: 12rem; overflow-wrap: anywhere }
  .certificates td:nth-child(3) { font-weight: 700; white-space: nowrap }
  .certificates .valid td:nth-child(3) { color: var(--up) } .certificates .valid td:nth-child(3)::before { content: "\\25B2\\A0" }
  .certificates .bad td { background: var(--down-soft) } .certificates .bad td:first-child { box-shadow: inset .3rem 0 var(--down) }
  .certificates .bad td:nth-child(3) { color: var(--down) } .certificates .bad td:nth-child(3)::before { content: "\\25BC\\A0" }
  @media (max-width: 1000px) {
    .certificates td:nth-child(n) { display: block; order: 4; grid-column: 1 / 4; min-width: 0; font-size: .9rem; overflow-wrap: anywhere } .certificates td:empty { display: none }
    .certificates td:nth-child(1) { order: 1; grid-column: 1 / 3; font-size: 1.05rem } .certificates td:nth-child(3) { order: 2; grid-column: 3; font-size: 1.05rem; text-align: right }
    .certificates td:nth-child(2) { order: 3; color: var(--soft) } .certificates td:nth-child(6) { order: 5 }
    .certificates td:nth-child(2)::before { content: "issuer " } .certificates td:nth-child(4)::before { content: "valid until " } .certificates td:nth-child(5)::before { content: "next attempt " }
    .certificates .bad { background: var(--down-soft); border-color: var(--down); border-left-width: .4rem } .certificates .bad td { background: none }
    .certificates .bad td:first-child { box-shadow: none }
  }
`;

/** Below the servers. No row of it looks like a server's to scripts that look for `bgcolor` or `<td>down</td>`. */
export function certificatesTable(certificates: readonly CertificateStatus[], now: number): string {
  const head = COLUMNS.map((column) => `    <th>${column}</th>\n`).join("");
  return `<h2 class="part">Certificates</h2>
<table class="certificates">
  <tr>
${head}  </tr>
${certificates.map((certificate) => line(certificate, now)).join("")}</table>
`;
}

function line({ names, issuer, state, expires, next, failed, reason }: CertificateStatus, now: number): string {
  const until = expires === 0 ? "" : later(expires, now);
  // An attempt that is due is made as soon as those before it have ended.
  const attempt = next <= now ? "now" : later(next, now);
  const error = reason === "" ? "" : failure(reason, failed, now);
  const cells = [html(names.join(", ")), html(issuer), state, until, attempt, error];
  const style = state === "failed" || state === "expired" ? "bad" : state;
  return `  <tr class="${style}">\n${cells.map((cell) => `    <td>${cell}</td>\n`).join("")}  </tr>\n`;
}

function later(at: number, now: number): string {
  if (!Number.isFinite(at)) return "after a reload";
  return `${moment(at)} <small>${at > now ? `in ${age(now, at)}` : `${age(at, now)} ago`}</small>`;
}
