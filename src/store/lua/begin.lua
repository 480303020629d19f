--[[
Sets a goal: raises the traversal number and fixes what the new traversal goes to (FENCE).
KEYS   stack pending requests garbage template outbox operations
ARGV   now request kind expected revision snapshot status action template timeoutMs beginMs schema name id options event idle
RESULT ok traversal goal | repeated traversal | nothing traversal | stale | conflict traversal | missing | exists | void | busy
ATOMIC because from the raised number on nothing of an older traversal may act (R8), the rollback target must be the one
       of that very moment (R7), and a repeated request must find its own answer (R6, R18).
kind is create, update, rollback, delete, replace, observe, cancel or stop; replace and observe go to the goal that there is.
idle: only if nothing is under way.
]]
--@include clock
local answered = redis.call('HGET', K.requests, A.request)
if answered then return { 'repeated', answered } end

local stack = redis.call('HMGET', K.stack, 'void', 'traversal', 'revision', 'goal', 'lastGood', 'base', 'updatesLeft',
  'open', 'status', 'purged', 'action', 'unsettled')
if stack[1] or (stack[10] and A.kind == 'create') then return { 'void' } end
if A.kind == 'create' then
  if stack[2] then return { 'exists' } end
elseif not stack[2] then
  return { 'missing' }
end
if A.expected ~= '' and A.expected ~= stack[2] then return { 'conflict', stack[2] } end
if (stack[3] or '') ~= A.revision then return { 'stale' } end
if A.idle == '1' and ((stack[12] or '') ~= '' or redis.call('EXISTS', K.pending, K.operations) > 0) then return { 'busy' } end

local at = now()
local current, lastGood, base = stack[4] or '', stack[5] or '', stack[6] or ''
local traversal = tonumber(stack[2] or 0) + 1
local settled = stack[9] == 'COMPLETE' or stack[9] == 'FAILED' or stack[9] == 'CANCELLED'
local failed = stack[9] == 'FAILED' or stack[9] == 'CANCELLED'

local function remember(answer)
  redis.call('HSET', K.requests, A.request, answer)
  if redis.call('HLEN', K.requests) <= 500 then return end
  local all, kept = redis.call('HGETALL', K.requests), 0
  for i = 1, #all, 2 do
    if tonumber(all[i + 1]) < traversal - 250 then redis.call('HDEL', K.requests, all[i]) else kept = kept + 1 end
  end
  if kept <= 500 then return end
  redis.call('DEL', K.requests)
  redis.call('HSET', K.requests, A.request, answer)
end

local goal = current
if A.kind == 'create' or A.kind == 'update' then
  goal = A.template
elseif A.kind == 'delete' then
  goal = 'empty'
elseif A.kind == 'rollback' then
  if current == lastGood and stack[11] ~= 'delete' and stack[7] == '0' and stack[8] ~= '' and not failed then
    remember(stack[2])
    return { 'nothing', stack[2] }
  end
  goal = lastGood == '' and 'empty' or lastGood
elseif A.kind == 'cancel' and settled then
  remember(stack[2])
  return { 'nothing', stack[2] }
end
if A.kind ~= 'delete' and A.kind ~= 'cancel' and A.kind ~= 'stop' then base = goal end

if A.kind == 'create' or A.kind == 'update' then redis.call('PERSIST', K.template) end
for _, old in ipairs({ stack[4] or '', stack[5] or '', stack[6] or '' }) do
  if old ~= '' and old ~= 'empty' and old ~= goal and old ~= lastGood and old ~= base then
    redis.call('ZADD', K.garbage, traversal - 1, 't:' .. old)
  end
end

local idle = A.kind == 'cancel' or A.kind == 'stop'
-- How often a goal that failed was tried again by itself; a goal of a person's starts the count anew.
if A.idle == '1' and stack[9] == 'FAILED' then
  redis.call('HINCRBY', K.stack, 'retries', 1)
elseif A.idle ~= '1' then
  redis.call('HDEL', K.stack, 'retries')
end
redis.call('HDEL', K.stack, 'wish')
redis.call('HSET', K.stack, 'traversal', traversal, 'goal', goal, 'lastGood', lastGood, 'base', base,
  'revision', tonumber(A.revision == '' and 0 or A.revision) + 1, 'snapshot', A.snapshot, 'status', A.status,
  'action', A.action, 'open', idle and '-' or '', 'begin', idle and '' or traversal, 'beginAt', at + tonumber(A.beginMs),
  'unsettled', idle and '' or traversal, 'over', idle and traversal or traversal - 1,
  'updatesLeft', 0, 'cleanupsLeft', 0, 'queued', 0, 'updatedAt', at,
  'timeoutAt', (A.timeoutMs == '' or idle) and '' or at + tonumber(A.timeoutMs), 'options', A.options, 'why', '')
if not idle and A.kind ~= 'observe' then redis.call('HSET', K.stack, 'goalAt', at) end
if A.kind == 'create' then
  redis.call('HSET', K.stack, 'schema', A.schema, 'id', A.id, 'name', A.name, 'createdAt', at, 'clock', at)
end
redis.call('DEL', K.pending)
redis.call('ZADD', K.garbage, traversal, 'a:' .. traversal)
if A.event ~= '' then redis.call('HSET', K.outbox, A.id .. '.' .. traversal .. '.goal', A.event) end
remember(traversal)
return { 'ok', tostring(traversal), goal }
