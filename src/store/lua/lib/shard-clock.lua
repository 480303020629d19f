-- shardNow(): milliseconds on a shard's clock. Redis's own, shifted so that it never steps back; a caller's `now` stands in.
local function shardNow()
  local at = tonumber(A.now)
  if not at then
    local time = redis.call('TIME')
    at = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  local last = redis.call('HMGET', K.clock, 'last', 'shift')
  at = at + tonumber(last[2] or 0)
  if last[1] and at < tonumber(last[1]) then
    redis.call('HINCRBY', K.clock, 'shift', tonumber(last[1]) - at)
    at = tonumber(last[1])
  elseif not last[1] or at - tonumber(last[1]) >= 1000 then
    redis.call('HSET', K.clock, 'last', at)
  end
  return at
end
