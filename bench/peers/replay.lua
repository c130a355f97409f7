-- For wrk: sends the requests in the file REQUESTS in turn, checks each answer's status, and writes figures to
-- the file RESULT. A request is its length in bytes, a line break, its bytes, and a line break.
local expected = tonumber(os.getenv('STATUS'))
local requests = {}
local thread
function setup(it) thread = it end
function init()
  local file = assert(io.open(os.getenv('REQUESTS'), 'rb'))
  for length in function() return file:read('*l') end do
    requests[#requests + 1] = file:read(tonumber(length))
    file:read(1)
  end
  file:close()
  position, wrong, answered = 0, 0, 0
end
function request()
  position = position + 1
  return requests[(position - 1) % #requests + 1]
end
function response(status)
  answered = answered + 1
  if status ~= expected then wrong = wrong + 1 end
end
function done(summary, latency)
  local errors = summary.errors
  local file = assert(io.open(os.getenv('RESULT'), 'w'))
  file:write(string.format('{"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"wrong":%d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    thread:get('wrong') + errors.connect + errors.read + errors.write + errors.timeout))
  file:close()
end
