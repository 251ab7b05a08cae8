import { bindWhenUsed, cString } from "../ffi.ts";
import { type SslContext, SslError } from "./context.ts";
import { clearErrors } from "./errors.ts";

/** Commands of OpenSSL's configuration files: whatever a context can be told (SSL_CONF_cmd(3)). */
const c = bindWhenUsed(null, {
  // The caller's, until SSL_CONF_CTX_free.
  SSL_CONF_CTX_new: { return: "handle", arguments: [] },
  SSL_CONF_CTX_free: { return: "void", arguments: ["handle"] },
  SSL_CONF_CTX_set_flags: { return: "uint32", arguments: ["handle", "uint32"] },
  // The SSL_CTX is lent until SSL_CONF_CTX_free.
  SSL_CONF_CTX_set_ssl_ctx: { return: "void", arguments: ["handle", "handle"] },
  SSL_CONF_cmd_value_type: { return: "int32", arguments: ["handle", "buffer"] },
  SSL_CONF_cmd: { return: "int32", arguments: ["handle", "buffer", "buffer"] },
  SSL_CONF_CTX_finish: { return: "int32", arguments: ["handle"] },
});

/** <openssl/ssl.h> */
const SSL_CONF_FLAG_FILE = 0x2;
const SSL_CONF_FLAG_CLIENT = 0x4;
const SSL_CONF_FLAG_SERVER = 0x8;
const SSL_CONF_FLAG_SHOW_ERRORS = 0x10;
const SSL_CONF_FLAG_CERTIFICATE = 0x20;
const FLAGS =
  SSL_CONF_FLAG_FILE |
  SSL_CONF_FLAG_CLIENT |
  SSL_CONF_FLAG_SERVER |
  SSL_CONF_FLAG_SHOW_ERRORS |
  SSL_CONF_FLAG_CERTIFICATE;
const SSL_CONF_TYPE_FILE = 2;
const SSL_CONF_TYPE_DIR = 3;

export interface ConfCommand {
  readonly name: string;
  readonly value: string;
}

/** Finds what values are that are paths. */
export interface ConfPaths {
  directory(path: string): string;
  /** Calls with the path of a file that OpenSSL can open, and with what errors call it. */
  withFile(path: string, use: (path: string, shown: string) => void): void;
}

/** ngx_ssl_conf_commands. Throws SslError with the index of the command in `item`. */
export function runConfCommands(context: SslContext, commands: readonly ConfCommand[], paths: ConfPaths): void {
  clearErrors();
  const pointer = c.SSL_CONF_CTX_new();
  if (pointer === 0n) throw new SslError("SSL_CONF_CTX_new() failed");
  try {
    c.SSL_CONF_CTX_set_flags(pointer, FLAGS);
    c.SSL_CONF_CTX_set_ssl_ctx(pointer, context.pointer);
    for (const [item, command] of commands.entries()) run(pointer, item, command, paths);
    if (c.SSL_CONF_CTX_finish(pointer) !== 1) throw new SslError("SSL_CONF_finish() failed");
  } finally {
    c.SSL_CONF_CTX_free(pointer);
  }
}

function run(pointer: bigint, item: number, { name, value }: ConfCommand, paths: ConfPaths): void {
  const command = cString(name);
  const tell = (told: string, shown: string) => {
    clearErrors();
    if (c.SSL_CONF_cmd(pointer, command, cString(told)) > 0) return;
    throw new SslError(`SSL_CONF_cmd("${name}", "${shown}") failed`, item);
  };
  switch (c.SSL_CONF_cmd_value_type(pointer, command)) {
    case SSL_CONF_TYPE_FILE:
      paths.withFile(value, tell);
      return;
    case SSL_CONF_TYPE_DIR: {
      const path = paths.directory(value);
      tell(path, path);
      return;
    }
    default:
      tell(value, value);
  }
}
