--[[
Ends a visit that passed everything on: the node leaves the pending set (END), and the queue moves up.
KEYS   stack graph sync pending queue outbox
ARGV   now traversal attempt node events window ringMs
RESULT ok stuck rings… | stale
ATOMIC because the place that a node leaves is given to the queue's next in the same step, so that nothing ready is ever
       outside both (R17).
events: ids of outbox entries that were published.
]]
--@include clock ring admit
local events = cjson.decode(A.events)
if #events > 0 then redis.call('HDEL', K.outbox, unpack(events)) end
if not isCurrent() then return { 'stale' } end
local rings = {}
redis.call('ZREM', K.pending, A.node)
refill(now(), rings)
return { 'ok', isStuck() and '1' or '', rings }
