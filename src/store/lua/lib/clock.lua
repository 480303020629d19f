-- now(): milliseconds on the stack's clock. Redis's own, shifted so that it never steps back; a caller's `now` stands in.
local function now()
  local at = tonumber(A.now)
  if not at then
    local time = redis.call('TIME')
    at = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local seen = redis.call('HMGET', K.stack, 'clock', 'clockShift')
  if not seen[1] then return at end
  at = at + tonumber(seen[2] or 0)
  local last = tonumber(seen[1])
  if at < last then
    redis.call('HINCRBY', K.stack, 'clockShift', last - at)
    return last
  end
  if at - last >= 50 then redis.call('HSET', K.stack, 'clock', at) end
  return at
end
