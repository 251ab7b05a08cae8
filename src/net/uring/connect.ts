import { errnoName } from "../../sys/errno.ts";
import { connectingSocket } from "../connecting_socket.ts";
import { becameScarce } from "../descriptors.ts";
import type { ConnectOptions } from "../engine.ts";
import { streamError } from "../errors.ts";
import { socketAddressOf } from "../listening_socket.ts";
import type { ConnectHandler, Stream } from "../stream.ts";
import type { Context } from "./context.ts";
import { UringStream } from "./stream.ts";

/** Opens a connection: `Engine.connect`. */
export function connect(context: Context, options: ConnectOptions, handler: ConnectHandler): Stream {
  const { address } = options;
  const socket = connectingSocket(options);
  const fd = "fd" in socket ? socket.fd : -1;
  const stream = new UringStream(context, fd, address, undefined, handler, false);
  if ("code" in socket) {
    if (socket.code === "EMFILE") becameScarce();
    stream.failed(streamError({ code: socket.code }));
    return stream;
  }
  if (address.family === "unix") {
    // Does not wait: without room in the queue it fails with EAGAIN.
    const result = context.calls.connect(fd, socketAddressOf(address));
    if (result < 0) stream.failed(streamError({ code: errnoName(result) }));
    else context.loop.loop.defer(connected, stream, undefined);
    return stream;
  }
  context.targets.connect(stream.id, fd, socketAddressOf(address));
  return stream;
}

function connected(stream: UringStream): void {
  stream.connected();
}
