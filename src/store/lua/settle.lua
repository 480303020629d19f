--[[
Stores the stack machine's next snapshot after a milestone of its current traversal.
KEYS   stack outbox
ARGV   now traversal revision snapshot status final eventId event
RESULT ok | stale
ATOMIC because a status belongs to one traversal and one revision: a newer goal's must not be overwritten (R9).
]]
--@include clock
local stack = redis.call('HMGET', K.stack, 'traversal', 'revision', 'snapshot')
if stack[1] == A.traversal and tonumber(stack[2]) == tonumber(A.revision) + 1 and stack[3] == A.snapshot then
  return { 'ok' }
end
if stack[1] ~= A.traversal or stack[2] ~= A.revision then return { 'stale' } end
redis.call('HSET', K.stack, 'snapshot', A.snapshot, 'status', A.status, 'updatedAt', now())
redis.call('HINCRBY', K.stack, 'revision', 1)
if A.status == 'COMPLETE' then redis.call('HDEL', K.stack, 'retries') end
if A.final == '1' then redis.call('HSET', K.stack, 'unsettled', '', 'over', A.traversal, 'timeoutAt', '') end
if A.event ~= '' then redis.call('HSET', K.outbox, A.eventId, A.event) end
return { 'ok' }
