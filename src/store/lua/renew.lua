--[[
Renews a lease, and with it the deadline of the call in flight.
KEYS   stack resource pending operations
ARGV   now holder resource node leaseMs callMs graceMs
RESULT ok | fenced
ATOMIC because a lease that somebody took must not come back (R9). A lease that ran out unnoticed is still valid.
]]
--@include clock
local held = redis.call('HMGET', K.resource, 'holder', 'intent')
if held[1] ~= A.holder then return { 'fenced' } end
local at = now()
local leaseEnd = at + tonumber(A.leaseMs)
redis.call('HSET', K.resource, 'until', leaseEnd)
if held[2] and held[2] ~= '' then
  if A.callMs ~= '' then redis.call('HSET', K.resource, 'deadline', at + tonumber(A.callMs)) end
  redis.call('ZADD', K.operations, 'XX', leaseEnd + tonumber(A.graceMs), A.resource)
end
if A.node ~= '' then redis.call('ZADD', K.pending, 'XX', leaseEnd + tonumber(A.graceMs), A.node) end
return { 'ok' }
