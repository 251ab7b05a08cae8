/** A configuration of the size that hosting companies have: 5,000 locations in one server, and 1,000 servers beside it. */

const LOCATIONS = 5000;
const SERVERS = 1000;

/** Answered in a location that is one of many. */
export const largePath = "/app4243/page";

/** Of ten: six prefixes, three exact names and a prefix that no regex is looked at behind; of five hundred, one is a regex. */
function location(i: number): string {
  const kind = i % 10;
  if (i % 500 === 9) return `~ ^/re${i}/.*\\.php$`;
  if (kind < 6) return `/app${i}/`;
  return kind < 9 ? `= /exact/${i}.html` : `^~ /static${i}/`;
}

/** Of ten: seven with two names, two with a wildcard, one with a regex. */
function names(i: number): string {
  const kind = i % 10;
  if (kind < 7) return `host${i}.example.com www.host${i}.example.com`;
  return kind < 9 ? `*.wild${i}.example.org` : `~^re${i}-(?<sub>[a-z]+)\\.example\\.net$`;
}

/** The locations of the server that is asked. */
export function largeLocations(answer: string): string {
  return Array.from({ length: LOCATIONS }, (_, i) => `        location ${location(i)} { ${answer} }\n`).join("");
}

/** The other servers of its address. */
export function largeServers(address: string, answer: string): string {
  const server = (_: unknown, i: number) => `    server {
        listen ${address};
        server_name ${names(i)};
        location / { ${answer} }
        location /api/ { proxy_pass http://backend; }
        location ~ \\.php$ { ${answer} }
    }
`;
  return Array.from({ length: SERVERS }, server).join("");
}
