import { byteString } from "../../wire/latin1.ts";
import type { Request } from "../core/request.ts";

/** How many texts a worker keeps. A power of two. */
const KEPT = 1024;
/** At each place: for which connection, of which parameters, and the text. */
const connections = new Float64Array(KEPT);
const owners = new Float64Array(KEPT);
const texts: string[] = new Array<string>(KEPT).fill("");

let made = 0;

/**
 * Encoded parameters that are the same for all requests of a connection. They are kept for connections that made a request of
 * late: one place for each by its number, which another may take.
 */
export class ConnectionParams {
  /** Nothing of a configuration is kept with its texts. */
  private readonly number = ++made;
  private readonly make: (request: Request) => string;

  constructor(make: (request: Request) => string) {
    this.make = make;
  }

  encode(request: Request): string {
    const { connection, remote } = request;
    // By ngx_http_realip_module the client is another for each request.
    if (remote !== connection.remote) return this.make(request);
    const at = (connection.number + this.number * 37) & (KEPT - 1);
    if (connections[at] === connection.number && owners[at] === this.number) return texts[at];
    const bytes = Buffer.from(this.make(request), "latin1");
    // One piece of memory, not a rope of many.
    const text = byteString(bytes, 0, bytes.length);
    connections[at] = connection.number;
    owners[at] = this.number;
    texts[at] = text;
    return text;
  }
}
