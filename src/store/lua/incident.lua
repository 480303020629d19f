--[[
Answers an incident for a person: what was lost may be made again, or is left as it is.
KEYS   stack lost losses incidents outbox
ARGV   now incident verdict revision eventId event
RESULT ok resources… | answered verdict | stale | missing
ATOMIC because what is lost after the answer belongs to another incident.
verdict: approved or dismissed. resources: ids; the same for whoever gives that answer again. revision: of the stack, from before it was hinted for.
]]
--@include clock
local known = redis.call('HMGET', K.incidents, 'open', 'last', 'verdict', 'answered')
if known[1] ~= A.incident then
  if known[2] ~= A.incident then return { 'missing' } end
  if known[3] ~= A.verdict then return { 'answered', known[3] } end
  return { 'ok', cjson.decode(known[4]) }
end
-- A sweeper that dropped the hint of this stack has changed its revision: who stores an event must hint again.
if redis.call('HGET', K.stack, 'revision') ~= A.revision then return { 'stale' } end
local lost = redis.call('ZRANGE', K.lost, 0, -1)
for _, resource in ipairs(lost) do redis.call('HSET', K.incidents, A.verdict .. ':' .. resource, now()) end
redis.call('DEL', K.lost, K.losses)
redis.call('HDEL', K.incidents, 'open', 'openedAt')
redis.call('HSET', K.incidents, 'last', A.incident, 'verdict', A.verdict, 'answered', cjson.encode(lost))
redis.call('HSET', K.outbox, A.eventId, A.event)
return { 'ok', lost }
