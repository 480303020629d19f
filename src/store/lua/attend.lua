--[[
Stores what is said of a stack's observation: pause, resume, a policy, that all of it is to be looked at, that looks wait for
the end of its traversal.
KEYS   stack outbox
ARGV   now field value revision eventId event
RESULT ok at | stale | missing
ATOMIC because a stack that is gone must not come back as a record with nothing else in it, and what is told must have
       happened once.
field: paused, policy, askedAt or awaited. A value of "now" stands for the moment. The event is told when the value is another one than
it was; with one, the revision is that of the stack from before it was hinted for.
]]
--@include clock
local stack = redis.call('HMGET', K.stack, 'traversal', 'revision', A.field)
if not stack[1] then return { 'missing' } end
local at = now()
if (stack[3] or '') == A.value then return { 'ok', tostring(at) } end
-- A sweeper that dropped the hint of this stack has changed its revision: who stores an event must hint again.
if A.event ~= '' and stack[2] ~= A.revision then return { 'stale' } end
redis.call('HSET', K.stack, A.field, A.value == 'now' and at or A.value)
-- Who looked under the old policy must look again.
if A.field == 'policy' then redis.call('HINCRBY', K.stack, 'revision', 1) end
if A.event ~= '' then redis.call('HSET', K.outbox, A.eventId, A.event) end
if A.field == 'paused' then redis.call('HSET', K.stack, 'pausedAt', at) end
return { 'ok', tostring(at) }
