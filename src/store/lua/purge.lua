--[[
Removes what is left of a deleted stack.
KEYS   stack pending operations index required requests garbage outbox queue baseTemplate lastGoodTemplate
       lost losses budget incidents
ARGV   traversal base lastGood ttlMs
RESULT ok | stale | unfinished
ATOMIC because a goal that revives the stack comes before the removal or finds nothing (R6), and an unfinished call must keep
       its entry (R17).
]]
local stack = redis.call('HMGET', K.stack, 'traversal', 'updatesLeft', 'cleanupsLeft', 'open', 'name', 'base', 'lastGood')
if not stack[1] then return { 'ok' } end
if stack[1] ~= A.traversal or stack[6] ~= A.base or stack[7] ~= A.lastGood then return { 'stale' } end
if stack[4] == '' or stack[2] ~= '0' or stack[3] ~= '0' then return { 'unfinished' } end
-- What ended since the last reaping would stay: only its place in the garbage knows of it.
if redis.call('EXISTS', K.operations, K.garbage) > 0 then return { 'unfinished' } end
redis.call('UNLINK', K.stack, K.pending, K.index, K.required, K.requests, K.garbage, K.outbox, K.queue,
  K.baseTemplate, K.lastGoodTemplate, K.lost, K.losses, K.budget, K.incidents)
-- Until its name is free, a note says so to whoever sweeps.
redis.call('HSET', K.stack, 'purged', stack[5])
redis.call('PEXPIRE', K.stack, A.ttlMs)
return { 'ok' }
