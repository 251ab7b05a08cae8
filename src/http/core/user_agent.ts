/** Browsers that nginx's core tells apart by User-Agent (ngx_http_process_user_agent). */

export function isMsie(agent: string | undefined): boolean {
  return agent !== undefined && /MSIE .../s.test(agent) && !agent.includes("Opera");
}

/** Internet Explorer up to 6, which may hang after a POST on a kept-alive connection and misreads gzip. */
export function isMsie6(agent: string | undefined): boolean {
  if (agent === undefined || agent.includes("Opera")) return false;
  // As in nginx only the first mention counts.
  const at = agent.indexOf("MSIE ");
  if (at === -1 || agent.length < at + 8 || agent[at + 6] !== ".") return false;
  const version = agent[at + 5];
  return version === "4" || version === "5" || (version === "6" && !agent.includes("SV1", at + 8));
}

export function isChrome(agent: string | undefined): boolean {
  if (agent === undefined || !agent.includes("Chrome/")) return false;
  return !/MSIE ...|Opera|Gecko\//s.test(agent);
}

export function isSafari(agent: string | undefined): boolean {
  if (agent === undefined || /MSIE ...|Opera|Gecko\/|Chrome\//s.test(agent)) return false;
  return agent.includes("Safari/") && agent.includes("Mac OS X");
}
