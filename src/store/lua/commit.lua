--[[
Stores what the machine decided, or the outcome of a call, with everything that follows from it (COMMIT-DECISION, COMMIT-OUTCOME).
KEYS   stack graph sync resource next pending operations index required garbage queue outbox lost
ARGV   now traversal attempt node resource pool holder commit mode effect operation fields requires index nextResource nextFields
       nextIndex value handed callMs delayMs reason leaseMs graceMs ringMs window eventId event changed
RESULT fenced | stale mark | required | handed thing late | busy
       | ok milestone more rings… mark record
ATOMIC because a decision is checked against fence and traversal and an outcome against the fence (R9), an intent enters the
       operation set with the record (R17), `requires` and its reverse count are one fact (R1), a finished node arrives at
       its successors with its outcome, and letting go answers whom to ring (R13).
mode: decision | outcome. effect: keep | hold | intent | done | fail | retry | wait | release | replace | adopt | gone; keep
goes on deciding while the traversal is current, hold keeps the lease whatever the traversal. operation: of the call that follows.
changed: applied (reality has these properties from now on), visible (and what others see of it changed, for no traversal), or
empty. fields, nextFields: JSON lists of name, value, …; requires: resource ids, one per line, or "=" to leave them.
]]
--@include clock ring admit pass finish
local held = redis.call('HMGET', K.resource, 'holder', 'commit', 'requires', 'handed', 'name', 'deadline')
-- A commit that let go and whose reply was lost comes again (R18): nobody has taken the lease since.
local repeated = held[2] == A.commit
if held[1] ~= A.holder and not (repeated and held[1] == '') then return { 'fenced' } end
local at = now()
local current = A.node ~= '' and isCurrent()

local function letGo()
  redis.call('HSET', K.resource, 'holder', '', 'until', 0)
  return ringOfMark() or ''
end

-- Many at a time: a resource may require thousands.
local function count(ids, by)
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    local counts = redis.call('HMGET', K.required, unpack(ids, first, last))
    local set, drop = {}, {}
    for i = first, last do
      local total = tonumber(counts[i - first + 1] or 0) + by
      if total > 0 then
        set[#set + 1] = ids[i]
        set[#set + 1] = total
      else
        drop[#drop + 1] = ids[i]
      end
    end
    if #set > 0 then redis.call('HSET', K.required, unpack(set)) end
    if #drop > 0 then redis.call('HDEL', K.required, unpack(drop)) end
  end
end

local function require(resources)
  if resources == '=' then return end
  local wanted, had = {}, {}
  for id in resources:gmatch('[^\n]+') do wanted[id] = true end
  for id in (held[3] or ''):gmatch('[^\n]+') do had[id] = true end
  local more, less = {}, {}
  for id in pairs(wanted) do
    if not had[id] then more[#more + 1] = id end
  end
  for id in pairs(had) do
    if not wanted[id] then less[#less + 1] = id end
  end
  count(more, 1)
  count(less, -1)
  redis.call('HSET', K.resource, 'requires', resources)
end

-- Whether a timer must see to it that somebody goes on.
local function isUnfinished()
  local left = redis.call('HMGET', K.resource, 'intent', 'handed')
  return (left[1] or '') ~= '' or (left[2] or '') ~= ''
end

local function apply(key, fields)
  local list = cjson.decode(fields)
  if #list > 0 then redis.call('HSET', key, unpack(list)) end
end

if A.mode == 'decision' and not current then
  redis.call('HSET', K.resource, 'commit', A.commit)
  return { 'stale', letGo() }
end
if A.mode == 'decision' and A.effect == 'intent' and A.operation == 'delete' and
    tonumber(redis.call('HGET', K.required, A.resource) or 0) > 0 then
  return { 'required' }
end
-- Whoever concludes anything about what exists must know what was handed over meanwhile (R10).
if not repeated and (held[4] or '') ~= A.handed and A.effect ~= 'release' then
  return { 'handed', held[4] or '', (tonumber(held[6]) or 0) <= at and '1' or '' }
end

if not repeated then
  apply(K.resource, A.fields)
  require(A.requires)
  redis.call('HSET', K.resource, 'commit', A.commit)
  if A.changed ~= '' then
    redis.call('HSET', K.resource, 'appliedAt', at, 'observed', '', 'observedAt', '', 'drift', '', 'differsAt', '')
  end
  if A.changed == 'visible' then redis.call('HSETNX', K.stack, 'wish', at) end
  redis.call('HINCRBY', K.resource, 'revision', 1)
  if A.index ~= '' then redis.call('HSET', K.index, A.resource, A.index) end
  -- An event tells of a new state.
  if A.event ~= '' then
    redis.call('HSET', K.outbox, A.eventId, A.event)
    redis.call('HSET', K.resource, 'since', at)
  end
  if A.operation ~= '' then redis.call('HSET', K.resource, 'called', A.operation, 'calledAt', at) end
  if not isUnfinished() then redis.call('ZREM', K.operations, A.resource) end
end

local rings, mark, more, record = {}, '', false, {}
local effect = A.effect
-- A goal without updates is in service once its first cleanup begins: until then it can be taken back whole.
if current and A.node:sub(1, 2) == 'k:' and redis.call('HGET', K.stack, 'updatesLeft') == '0' then reachGoal() end

local ends = effect == 'keep' or effect == 'done' or effect == 'fail' or effect == 'retry'
if A.mode == 'outcome' and not current and ends then effect = 'release' end

if effect == 'intent' then
  redis.call('HSET', K.resource, 'deadline', at + tonumber(A.callMs), 'caller', A.holder, 'waiting', '',
    'until', at + tonumber(A.leaseMs))
  if current then redis.call('ZADD', K.pending, at + tonumber(A.leaseMs) + tonumber(A.graceMs), A.node) end
  redis.call('ZADD', K.operations, at + tonumber(A.leaseMs) + tonumber(A.graceMs), A.resource)
elseif effect == 'done' then
  finish(A.node, A.value)
  more = pass(A.node, 0, A.value, at, rings)
  mark = letGo()
elseif effect == 'gone' then
  redis.call('HSET', K.resource, 'tombstone', '1')
  redis.call('HDEL', K.index, A.resource)
  redis.call('ZREM', K.lost, A.resource)
  local newest = redis.call('HGET', K.stack, 'traversal')
  if newest then redis.call('ZADD', K.garbage, newest, 'r:' .. A.resource) end
  if current then
    finish(A.node, A.value)
    more = pass(A.node, 0, A.value, at, rings)
  end
  mark = letGo()
  if not newest then redis.call('DEL', K.resource) end
elseif effect == 'fail' then
  redis.call('ZREM', K.pending, A.node)
  local first = redis.call('HSETNX', K.sync, 'f:' .. A.node, '1') == 1
  if first and redis.call('HINCRBY', K.sync, 'failures', 1) <= 10 then
    local why = redis.call('HGET', K.stack, 'why') or ''
    redis.call('HSET', K.stack, 'why', why .. (why == '' and '' or '\n') .. held[5] .. ': ' .. A.reason)
  end
  refill(at, rings)
  mark = letGo()
elseif effect == 'retry' then
  redis.call('ZADD', K.pending, at + tonumber(A.delayMs), A.node)
  mark = letGo()
elseif effect == 'wait' then
  local due = tonumber(redis.call('HGET', K.resource, 'deadline'))
  redis.call('HSET', K.resource, 'waiting', '1')
  -- After an abort there is no intent, and nothing to end: only the node waits.
  if isUnfinished() then redis.call('ZADD', K.operations, due, A.resource) end
  mark = letGo()
  if current then
    redis.call('HSET', K.resource, 'mark', A.traversal .. '\n' .. A.attempt .. '\n' .. A.node .. '\n' .. A.pool)
    redis.call('ZADD', K.pending, due + tonumber(A.graceMs), A.node)
  end
elseif effect == 'release' then
  mark = letGo()
elseif effect == 'replace' then
  local lease = redis.call('HMGET', K.resource, 'until', 'at')
  if redis.call('HGET', K.sync, 'r:' .. A.node) ~= A.nextResource then
    local sequence = redis.call('HINCRBY', K.stack, 'sequence', 1)
    apply(K.next, A.nextFields)
    redis.call('HSET', K.next, 'sequence', sequence, 'snapshot', '', 'revision', 0, 'fence', 1, 'holder', A.holder,
      'until', lease[1], 'at', lease[2], 'since', at)
    redis.call('HSET', K.index, A.nextResource, (A.nextIndex:gsub('"sequence":0', '"sequence":' .. sequence)))
    redis.call('HSET', K.resource, 'replacedBy', A.nextResource)
    redis.call('HSET', K.sync, 'r:' .. A.node, A.nextResource)
  end
  letGo()
  record = redis.call('HGETALL', K.next)
elseif effect == 'adopt' then
  -- A node goes over to another incarnation of its name that fits (R7); its lease is needed as much as any.
  local other = redis.call('HMGET', K.next, 'holder', 'until', 'snapshot')
  if not other[3] then return { 'stale', letGo() } end
  redis.call('HSET', K.sync, 'r:' .. A.node, A.nextResource)
  letGo()
  if other[1] ~= '' and other[1] ~= A.holder and tonumber(other[2]) > at then
    redis.call('HSET', K.next, 'mark', A.traversal .. '\n' .. A.attempt .. '\n' .. A.node .. '\n' .. A.pool)
    return { 'busy' }
  end
  if other[1] ~= A.holder then redis.call('HINCRBY', K.next, 'fence', 1) end
  redis.call('HSET', K.next, 'holder', A.holder, 'until', at + tonumber(A.leaseMs), 'at', A.traversal .. '|' .. A.node,
    'mark', '')
  record = redis.call('HGETALL', K.next)
end

if effect == 'release' or (A.mode == 'outcome' and not current and (effect == 'gone' or effect == 'wait')) then
  return { 'stale', mark }
end
local tell = (effect == 'done' or effect == 'gone') and isMilestone() or (effect == 'fail' and isStuck())
return { 'ok', tell and '1' or '', more and '1' or '', rings, mark, record }
