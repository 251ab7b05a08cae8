import { describeSentences } from "../../support/sentences.ts";

describeSentences("memory and HTTP/2", [
  ["a pool that is too small", "connection_pool_size 10;"],
  ["a pool that does not end where memory does", "server { request_pool_size 1001; }"],
  ["a pool as it may be", "request_pool_size 4k;"],
  ["a stream's pool that is too small", "http2_pool_size 100;"],
  ["a receive buffer that is too small", "http2_recv_buffer_size 16;"],
  ["a receive buffer of a server", "server { http2_recv_buffer_size 1m; }"],
  ["an index that is no power of two", "http2_streams_index_size 33;"],
  ["an index of nothing", "http2_streams_index_size 0;"],
  ["streams that are no number", "http2_max_concurrent_streams many;"],
  ["a body that is larger than a window", "http2_body_preread_size 3g;"],
  ["a chunk that is no size", "http2_chunk_size 2x;"],
  ["chunks twice", "server { http2_chunk_size 4k; http2_chunk_size 8k; }"],
]);
