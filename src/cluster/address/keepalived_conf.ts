import { type Address, hostText } from "../../net/address.ts";
import { vrrpPriority } from "./priority.ts";
import type { VirtualIp } from "./virtual_ip.ts";

/** An address as this node has it. */
export interface OwnAddress extends Omit<VirtualIp, "priority"> {
  readonly priority: number;
  /** This node's, and the others', for `unicast`. */
  readonly self: Address;
  readonly others: readonly Address[];
}

/** How often keepalived asks whether Holdfast lives, s, and how long the answer may take: a shell has to be started. */
const ALIVE_INTERVAL = 1;
const ALIVE_TIMEOUT = 3;
/** Neighbours that still have another node's place for an address are told anew so often, s. */
const REFRESH = 5;

/** Names of what is in keepalived's directory. */
export const FILE = {
  conf: "keepalived.conf",
  pid: "keepalived.pid",
  vrrpPid: "vrrp.pid",
  alive: "alive",
  aliveScript: "alive.sh",
  guard: "guard.sh",
  life: "life",
  lines: "lines",
  events: "events",
} as const;

/** The name of an address's instance, and of the file with what is added to its priority. */
export function instanceName({ router, dev }: Pick<VirtualIp, "router" | "dev">): string {
  return `holdfast_${dev}_${router}`;
}

/** keepalived.conf. `directory`: where all else is that it names. */
export function keepalivedConf(node: string, addresses: readonly OwnAddress[], directory: string): string {
  const lines = [
    "# Written by Holdfast from its configuration, anew at each start and reload.",
    "global_defs {",
    `  router_id ${node}`,
    "  vrrp_version 3",
    "  script_user root",
    "  max_auto_priority -1",
    "  vrrp_priority -20",
    `  vrrp_notify_fifo "${directory}/${FILE.events}"`,
    "}",
    "vrrp_script alive {",
    `  script "/bin/sh ${directory}/${FILE.aliveScript} ${directory}/${FILE.alive}"`,
    `  interval ${ALIVE_INTERVAL}`,
    `  timeout ${ALIVE_TIMEOUT}`,
    "  fall 1",
    "  rise 1",
    "}",
    ...addresses.flatMap((address) => instance(address, directory)),
  ];
  return `${lines.join("\n")}\n`;
}

function instance(address: OwnAddress, directory: string): string[] {
  const { host, bits, dev, router, priority, advert, unicast, self, others } = address;
  const name = instanceName(address);
  const peers = [`  unicast_src_ip ${hostText(self)}`, "  unicast_peer {", ...others.map(peer), "  }"];
  return [
    `track_file ${name} {`,
    `  file "${directory}/${name}"`,
    "  weight 1",
    "}",
    `vrrp_instance ${name} {`,
    "  state BACKUP",
    `  interface ${dev}`,
    `  virtual_router_id ${router}`,
    `  priority ${vrrpPriority(priority)}`,
    `  advert_int ${advert / 1000}`,
    "  garp_master_delay 1",
    "  garp_lower_prio_delay 1",
    "  garp_lower_prio_repeat 1",
    `  garp_master_refresh ${REFRESH}`,
    ...(unicast ? peers : []),
    `  virtual_ipaddress {\n    ${host}/${bits} dev ${dev}\n  }`,
    `  track_file {\n    ${name}\n  }`,
    "  track_script {\n    alive\n  }",
    "}",
  ];
}

function peer(address: Address): string {
  return `    ${hostText(address)}`;
}

/** Fails where the time until which Holdfast said that it lives has passed: it was stopped, say, and its master cannot say so. */
export const ALIVE_SCRIPT = `#!/bin/sh
# Hundredths of a second since the system's start.
read -r up _ </proc/uptime && read -r until <"$1" || exit 1
[ "\${up%.*}\${up#*.}" -le "$until" ]
`;

/**
 * Runs keepalived until nobody has the pipe "life" open for writing: the master, and the one that takes its place in an upgrade. However
 * the master ends, keepalived then gives the addresses up at once.
 */
export const GUARD_SCRIPT = `#!/bin/sh
directory=$1
shift
"$@" </dev/null 1<>"$directory/${FILE.lines}" 2>&1 &
keepalived=$!
(
  read -r _ <"$directory/${FILE.life}"
  kill -TERM "$keepalived"
) &
reader=$!
wait "$keepalived"
status=$?
kill "$reader" 2>/dev/null
exit "$status"
`;
