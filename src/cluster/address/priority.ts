/**
 * VRRP's priorities, 1 to 254. A node's own is in the middle third. Who has the address is raised above all who do not, so that
 * it stays where it is although another would come first; who is cut off falls below all who are not.
 */
export const LEAST_PRIORITY = 1;
export const MOST_PRIORITY = 80;
const MIDDLE = 80;
/**
 * The most between two nodes that follow one another. Backups wait the longer the lower theirs is, 1/256 of an advertisement a step: the
 * second must have heard the first by then, or both take the address for a moment, and who reaches the wrong one is cut off.
 */
const GREATEST_STEP = 39;

/** What is added to a node's own priority. FAULT: it takes no part. */
export const WEIGHT = { normal: 0, holder: 90, cutOff: -80, fault: -254 } as const;

/** Of a node of that name. `nodes`: all, in the order of the configuration. `prefer` comes first, and then those after it. */
export function priorityOf(nodes: readonly string[], prefer: string, name: string): number {
  const [first, own] = [nodes.indexOf(prefer), nodes.indexOf(name)];
  const place = (own - first + nodes.length) % nodes.length;
  const step = Math.min(GREATEST_STEP, (MOST_PRIORITY - LEAST_PRIORITY) / Math.max(1, nodes.length - 1));
  return MOST_PRIORITY - Math.floor(place * step);
}

/** As keepalived is told it. */
export function vrrpPriority(priority: number): number {
  return MIDDLE + priority;
}
