-- What bench/load.ts wants of wrk. There is no request(), so wrk sends the one text made at the start, at full speed.

-- The head in the order it is given in: wrk's own has the fields in the order of a Lua table.
function init(args)
  local lines = { "GET " .. wrk.path .. " HTTP/1.1", "Host: " .. wrk.headers["Host"] }
  for _, field in ipairs(args) do
    if field ~= "--" then lines[#lines + 1] = field end
  end
  wrk.format = function() return table.concat(lines, "\r\n") .. "\r\n\r\n" end
end

-- Prints what bench/load.ts reads.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"bytes":%d,"seconds":%.6f,"p99Ms":%.4f,"errors":%d}\n',
    summary.requests, summary.bytes, summary.duration / 1e6, latency:percentile(99.0) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
