import { directive } from "../../config/directives.ts";
import { warn } from "../../config/errors.ts";
import { type DirectiveSpec, fail } from "../../config/schema.ts";
import type { Directive } from "../../config/types.ts";
import { syncedOf } from "../../http/conf/synced.ts";
import {
  type RedisDefinition,
  type RedisSetting,
  readRedisParameter,
  redisDefinition,
} from "../../redis/definition.ts";
import type { Cycle } from "../../runtime/cycle.ts";

/** `store` of a cluster. */
export interface StoreSetting extends RedisSetting {
  readonly at: Directive;
}

export const store: DirectiveSpec<StoreSetting | undefined> = directive<StoreSetting | undefined>({
  in: ["cluster"],
  args: [1, 5],
  syntax: "url [prefix=text] [password_file=file] [ca=file] [verify=on|off]",
  doc: "The Redis or Valkey through which the nodes share what is declared with `sync`: at `redis[s]://[[user]:password@]host[:port][/database]`, `redis[s]+sentinel://host[:port],…/master[/database]` or `redis[s]+cluster://host[:port],…`. Only the checker talks to it, and no request waits for it; while it is away each node goes on alone. `password_file` has the password in its first line, `ca` the authorities that the store's certificate is checked against unless `verify` is off; all keys and the channel begin with `prefix` (`holdfast:cluster:name:`).",
  initial: () => undefined,
  read(at) {
    const [url, ...words] = at.args;
    const setting: { -readonly [K in keyof RedisSetting]?: RedisSetting[K] } = {};
    for (const word of words) {
      const [, parameter, value] = /^(\w+)=(.+)$/s.exec(word) ?? [];
      if (parameter === undefined || readRedisParameter(setting, parameter, value) !== true)
        fail(at, `invalid parameter "${word}"`);
    }
    const { prefix, passwordFile, ca, verify = true } = setting;
    return { store: url, prefix, passwordFile, ca, verify, at };
  },
});

/** Throws ConfigError. */
export function readStore(setting: StoreSetting, cluster: string, cycle: Cycle): RedisDefinition {
  return redisDefinition(setting, {
    owner: `cluster "${cluster}"`,
    prefix: `holdfast:cluster:${cluster}:`,
    fail: (sentence) => fail(setting.at, sentence),
    path: (file) => cycle.path(file, "conf"),
    readFile: (path) => cycle.readFile(path),
  });
}

/** Tells all that is declared as shared that it is, or the user that it is not. */
export function shareSynced(cycle: Cycle, shared: boolean): void {
  for (const synced of syncedOf(cycle).values()) {
    if (shared) synced.share();
    else {
      const { at } = synced;
      warn(at, cycle.root, `"sync" of "${at.name}" has no effect: there is no "cluster" with a "store"`);
    }
  }
}
