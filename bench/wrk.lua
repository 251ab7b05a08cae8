-- Prints what bench/load.ts reads. Only done() is defined, so wrk sends its request unaltered at full speed.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"bytes":%d,"seconds":%.6f,"p99Ms":%.4f,"errors":%d}\n',
    summary.requests, summary.bytes, summary.duration / 1e6, latency:percentile(99.0) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
