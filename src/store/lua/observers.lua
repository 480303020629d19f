--[[
Registers an observer for ms from now, or takes it off when ms is 0, and says how many are registered.
KEYS   observers
ARGV   now observer ms
RESULT ok count
ATOMIC because whoever counts must be among those counted, and nobody whose time is over.
]]
local at = tonumber(A.now)
if not at then
  local time = redis.call('TIME')
  at = time[1] * 1000 + math.floor(time[2] / 1000)
end
local ms = tonumber(A.ms)
redis.call('ZREMRANGEBYSCORE', K.observers, '-inf', at)
if ms == 0 then
  redis.call('ZREM', K.observers, A.observer)
else
  redis.call('ZADD', K.observers, at + ms, A.observer)
  redis.call('PEXPIRE', K.observers, ms)
  -- All register for as long: what ends later is from before the clock was set back.
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', K.observers, '(' .. at + ms, '+inf')) do
    redis.call('ZADD', K.observers, at + ms, other)
  end
end
return { 'ok', redis.call('ZCARD', K.observers) }
