--[[
Pops what is due in one stack (TIMERS) and says when to look again.
KEYS   stack graph sync pending operations queue outbox index garbage
ARGV   now traversal attempt limit ringMs beginMs
RESULT missing | moved traversal attempt | purged name | ok begin timeout settle outbox garbage nextMs rings… operations…
ATOMIC because an entry that is rung for must get its next ring time in the same step (R17).
moved: the caller's traversal and attempt, which name the keys, are not the current ones. nextMs is empty when nothing is
unfinished. operations are resource ids.
]]
--@include clock ring
local stack = redis.call('HMGET', K.stack, 'traversal', 'open', 'begin', 'beginAt', 'timeoutAt', 'unsettled',
  'purged', 'over')
if stack[7] and redis.call('EXISTS', K.operations) == 0 then return { 'purged', stack[7] } end
if stack[1] and (stack[1] ~= A.traversal or stack[2] ~= A.attempt) then return { 'moved', stack[1], stack[2] } end
local at = now()
local again = at + tonumber(A.ringMs)
local next

local function look(due)
  due = tonumber(due)
  if due and (not next or due < next) then next = due end
end

local begin = ''
if stack[3] and stack[3] ~= '' then
  if tonumber(stack[4]) <= at then
    begin = stack[3]
    redis.call('HSET', K.stack, 'beginAt', at + tonumber(A.beginMs))
    look(at + tonumber(A.beginMs))
  else
    look(stack[4])
  end
end

local timeout = ''
if stack[5] and stack[5] ~= '' then
  if tonumber(stack[5]) <= at then
    timeout = '1'
    redis.call('HSET', K.stack, 'timeoutAt', again)
  else
    look(stack[5])
  end
end

local rings, operations = {}, {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', K.pending, '-inf', at, 'LIMIT', 0, A.limit)) do
  redis.call('ZADD', K.pending, again, node)
  local ring = ringOf(node)
  if ring then rings[#rings + 1] = ring else redis.call('ZREM', K.pending, node) end
end
for _, resource in ipairs(redis.call('ZRANGEBYSCORE', K.operations, '-inf', at, 'LIMIT', 0, A.limit)) do
  redis.call('ZADD', K.operations, again, resource)
  operations[#operations + 1] = resource .. '\n' .. (redis.call('HGET', K.index, resource) or '')
end
look(redis.call('ZRANGE', K.pending, 0, 0, 'WITHSCORES')[2])
look(redis.call('ZRANGE', K.operations, 0, 0, 'WITHSCORES')[2])

-- A stack whose last visit ended but whose status was never settled: its settler died.
local settle = ''
if stack[6] and stack[6] ~= '' and stack[2] ~= '' then
  if redis.call('EXISTS', K.pending) == 0 and redis.call('EXISTS', K.queue) == 0 then settle = '1' end
  look(again)
end
local outbox = redis.call('EXISTS', K.outbox) == 1 and '1' or ''
if outbox == '1' then look(again) end
local garbage = stack[8] and redis.call('ZCOUNT', K.garbage, '-inf', stack[8]) > 0 and '1' or ''
if garbage == '1' then look(again) end
if not stack[1] and not next then return { 'missing' } end
-- Whoever set a goal just now, counting on the hint that is about to be dropped, must hint again.
if not next then redis.call('HINCRBY', K.stack, 'revision', 1) end
return { 'ok', begin, timeout, settle, outbox, garbage, next and tostring(math.max(0, next - at)) or '', rings, operations }
