--[[
Takes the right to act on a resource for one node, or for ending its unfinished call (CLAIM).
KEYS   stack graph sync resource pending operations index
ARGV   now traversal attempt node resource pool holder leaseMs graceMs schema
RESULT newer schema | gone | ended | notReady | moved resource | again ms | busy | waiting ms | stale mark
       | passing cursor value | claimed current late fence node arrivals standing record
ATOMIC because who acts, under which traversal, and who must be told later are one decision (R8, R13): a mark set a moment
       after its holder looked would be lost, a lease taken a moment after a fence would let a stale visit act.
node is empty when only an unfinished call is to be ended. arrivals are predecessor, value, …; record is field, value, …
]]
--@include clock ring
local schema = redis.call('HGET', K.stack, 'schema')
if schema and tonumber(schema) > tonumber(A.schema) then return { 'newer', schema } end
local at = now()
local current = A.node ~= '' and isCurrent()
local record = redis.call('HMGET', K.resource, 'holder', 'until', 'at', 'intent', 'deadline', 'waiting', 'handed',
  'snapshot', 'tombstone', 'physical')
local visit = A.traversal .. '|' .. A.node

if current then
  local about = redis.call('HGET', K.graph, 'i:' .. A.node)
  if not about then return { 'gone' } end
  local done = redis.call('HGET', K.sync, 'd:' .. A.node)
  if done then
    if not redis.call('ZSCORE', K.pending, A.node) then return { 'ended' } end
    redis.call('ZADD', K.pending, at + tonumber(A.leaseMs) + tonumber(A.graceMs), A.node)
    return { 'passing', redis.call('HGET', K.sync, 'c:' .. A.node) or '0', done }
  end
  if redis.call('HEXISTS', K.sync, 'f:' .. A.node) == 1 then return { 'ended' } end
  if not redis.call('ZSCORE', K.pending, A.node) then return { 'notReady' } end
  local pool, resource, name, type = about:match('^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  resource = redis.call('HGET', K.sync, 'r:' .. A.node) or resource
  if resource ~= A.resource then return { 'moved', resource } end
  if not record[8] then
    -- A declared resource comes into being with the first claim for it; until then it is in the graph alone.
    local sequence = redis.call('HINCRBY', K.stack, 'sequence', 1)
    redis.call('HSET', K.resource, 'stackName', redis.call('HGET', K.stack, 'name'), 'name', name, 'type', type, 'pool', pool, 'sequence', sequence, 'snapshot', '',
      'revision', 0, 'fence', 0, 'holder', '', 'until', 0, 'since', at)
    redis.call('HSET', K.index, A.resource,
      cjson.encode({ name = name, type = type, state = 'declared', sequence = sequence, pool = pool }))
    record[1], record[2], record[8] = '', '0', ''
  end
elseif not record[8] then
  return { 'gone' }
end

if record[1] == A.holder then
  -- The reply of this very claim was lost (R18).
elseif record[1] ~= '' and tonumber(record[2]) > at then
  if record[3] == visit and A.node ~= '' then return { 'again', tonumber(record[2]) - at } end
  if current then
    redis.call('HSET', K.resource, 'mark',
      A.traversal .. '\n' .. A.attempt .. '\n' .. A.node .. '\n' .. A.pool)
    redis.call('ZADD', K.pending, tonumber(record[2]) + tonumber(A.graceMs), A.node)
  end
  return { 'busy' }
end

local unfinished = (record[4] or '') ~= '' or (record[7] or '') ~= ''
local late = not record[5] or record[5] == '' or tonumber(record[5]) <= at
-- An update that was aborted has no intent any more, but may land until its deadline: no other one before that (R10).
local aborted = current and not unfinished and A.node:sub(1, 2) == 'u:' and (record[10] or '') ~= ''
if (aborted or (unfinished and record[6] == '1')) and not late then
  local left = tonumber(record[5]) - at
  if current then
    redis.call('HSET', K.resource, 'mark',
      A.traversal .. '\n' .. A.attempt .. '\n' .. A.node .. '\n' .. A.pool)
    redis.call('ZADD', K.pending, tonumber(record[5]) + tonumber(A.graceMs), A.node)
  end
  -- A cleanup may delete at once what an update left unknown (R10): it does not wait.
  if not (current and A.node:sub(1, 2) == 'k:' and record[4] == 'update') then return { 'waiting', left } end
end
if not current and not unfinished then
  return { 'stale', ringOfMark() or '' }
end

if record[1] ~= A.holder then redis.call('HINCRBY', K.resource, 'fence', 1) end
local leaseEnd = at + tonumber(A.leaseMs)
redis.call('HSET', K.resource, 'holder', A.holder, 'until', leaseEnd, 'at', visit)
if current then
  redis.call('HSET', K.resource, 'mark', '')
  redis.call('ZADD', K.pending, leaseEnd + tonumber(A.graceMs), A.node)
end
if unfinished then
  redis.call('ZADD', K.operations, leaseEnd + tonumber(A.graceMs), A.resource)
end

local node, arrivals, standing = '', {}, ''
if current then
  node = redis.call('HGET', K.graph, 'j:' .. A.node) or ''
  local predecessors, fields = {}, {}
  for predecessor in (redis.call('HGET', K.graph, 'p:' .. A.node) or ''):gmatch('[^\n]+') do
    predecessors[#predecessors + 1] = predecessor
    fields[#fields + 1] = A.node .. '\n' .. predecessor
  end
  for first = 1, #fields, 1000 do
    local last = math.min(first + 999, #fields)
    local values = redis.call('HMGET', K.sync, unpack(fields, first, last))
    for i = first, last do
      arrivals[#arrivals + 1] = predecessors[i]
      arrivals[#arrivals + 1] = values[i - first + 1] or ''
    end
  end
  local by = redis.call('HGET', K.graph, 'w:' .. A.node)
  if by then
    local about = redis.call('HGET', K.graph, 'i:' .. by)
    standing = redis.call('HGET', K.sync, 'r:' .. by) or about:match('^[^\n]*\n([^\n]*)')
  end
end
return { 'claimed', current and '1' or '', late and '1' or '', redis.call('HGET', K.resource, 'fence'), node, arrivals,
  standing, redis.call('HGETALL', K.resource) }
