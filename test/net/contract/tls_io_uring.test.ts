/** TLS over io_uring. */
import { openUring } from "../../../src/net/uring/engine.ts";
import { overTls } from "./over_tls.ts";

overTls(openUring());
