--[[
Stores what a look found, and decides whether it may be mended now (OBSERVE).
KEYS   stack resource pending operations index outbox lost losses budget incidents
ARGV   now resource traversal attempt type revision stackRevision fields indexEntry events finding entered want
       look repairFields repairIndex callMs leaseMs graceMs burst perMinute typeBurst typePerMinute
       lostLimit lostMs incident incidentEvent seenAt
RESULT changed | unhinted | busy | noted why ms | repairing fence | wished
ATOMIC because the finding counts only if nobody changed the record since the look began, a repair must not begin beside a
       traversal (R8), and the budget, the incident and the lease are taken together or not at all.
look: unique to the look, and the holder of a repair's lease. seenAt: when it began. finding: as the machine has it; entered:
it has led to a new state. want: empty, repair (in place) or reconverge. events, fields and repairFields are JSON lists of name,
value, …; the repair's index entry goes with either kind of repair.
why: paused | over | traversal | dismissed | incident | budget | nothing. ms: when to ask again; empty when it is not a matter of time.
]]
--@include clock
local record = redis.call('HMGET', K.resource, 'revision', 'holder', 'until', 'intent', 'tombstone', 'handed', 'looked')
-- The reply of this very look was lost (R18).
local looked = record[7] and cjson.decode(record[7])
if looked and looked[1] == A.look then return { looked[2], looked[3], looked[4] } end
if record[1] ~= A.revision or record[5] then return { 'changed' } end
local at = now()
if (record[2] ~= '' and tonumber(record[3]) > at) or (record[4] or '') ~= '' or (record[6] or '') ~= '' then
  return { 'busy' }
end

-- A sweeper that dropped the hint of this stack has changed its revision: who relies on the hint must hint again.
if (A.want ~= '' or A.events ~= '[]') and redis.call('HGET', K.stack, 'revision') ~= A.stackRevision then return { 'unhinted' } end

local function apply(fields)
  local list = cjson.decode(fields)
  if #list > 0 then redis.call('HSET', K.resource, unpack(list)) end
end

apply(A.fields)
redis.call('HSET', K.resource, 'observedAt', A.seenAt)
if A.entered == '1' then redis.call('HSET', K.resource, 'since', at) end
-- Since when it is not in line, however often its repair has failed.
if A.finding == 'inLine' then
  redis.call('HSET', K.resource, 'differsAt', '')
elseif (redis.call('HGET', K.resource, 'differsAt') or '') == '' then
  redis.call('HSET', K.resource, 'differsAt', at)
end
redis.call('HINCRBY', K.resource, 'revision', 1)
redis.call('HSET', K.index, A.resource, A.indexEntry)
local events = cjson.decode(A.events)
if #events > 0 then redis.call('HSET', K.outbox, unpack(events)) end
if A.finding == 'missing' then
  -- An incident whose things are all back is over.
  if redis.call('EXISTS', K.lost) == 0 then redis.call('HDEL', K.incidents, 'open', 'openedAt') end
  -- What was lost before an incident was answered belongs to that one.
  local answers = redis.call('HMGET', K.incidents, 'approved:' .. A.resource, 'dismissed:' .. A.resource)
  local new = redis.call('ZADD', K.lost, 'NX', at, A.resource) == 1
  if new and not (answers[1] or answers[2]) then redis.call('ZADD', K.losses, at, A.resource) end
-- What cannot be read is as lost as it was, and what a person said of its loss stands (O2).
elseif A.finding ~= 'unreadable' then
  redis.call('ZREM', K.lost, A.resource)
  redis.call('ZREM', K.losses, A.resource)
  redis.call('HDEL', K.incidents, 'approved:' .. A.resource, 'dismissed:' .. A.resource)
end

-- Buckets of tokens, each filled up to its burst: how long until one has a token.
local function missingMs(name, burst, perMinute)
  if burst == '' then return 0, 0 end
  local bucket = redis.call('HMGET', K.budget, name, name .. ':at')
  local tokens = tonumber(bucket[1] or burst)
  if bucket[2] then tokens = tokens + (at - tonumber(bucket[2])) * tonumber(perMinute) / 60000 end
  tokens = math.min(tokens, tonumber(burst))
  if tokens >= 1 then return 0, tokens end
  if tonumber(perMinute) <= 0 then return 3600000, tokens end
  return math.ceil((1 - tokens) * 60000 / tonumber(perMinute)), tokens
end

local function decide()
  if A.want == '' then return { 'noted', 'nothing', '' } end

  local stack = redis.call('HMGET', K.stack, 'traversal', 'open', 'unsettled', 'status', 'action', 'paused', 'wish')
  if stack[6] and stack[6] ~= '' then return { 'noted', 'paused', '' } end
  if stack[5] == 'delete' or stack[4] == 'CANCELLED' then return { 'noted', 'over', '' } end
  if stack[1] ~= A.traversal or stack[2] ~= A.attempt or stack[3] ~= '' or redis.call('EXISTS', K.pending) == 1 then
    return { 'noted', 'traversal', '' }
  end
  -- A traversal that is wished for begins when nothing is under way: nothing more begins before it.
  if A.want == 'repair' and stack[7] and stack[7] ~= '' then return { 'noted', 'traversal', '' } end

  -- A traversal that is about to begin has been granted to this resource already.
  if A.want == 'reconverge' and (stack[7] or '') ~= '' and redis.call('HGET', K.resource, 'wished') == stack[7] then
    redis.call('HSET', K.index, A.resource, A.repairIndex)
    return { 'wished', '', '' }
  end

  local approved = false
  if A.finding == 'missing' then
    if redis.call('HEXISTS', K.incidents, 'dismissed:' .. A.resource) == 1 then return { 'noted', 'dismissed', '' } end
    approved = redis.call('HDEL', K.incidents, 'approved:' .. A.resource) == 1
    if not approved then
      if redis.call('HEXISTS', K.incidents, 'open') == 1 then return { 'noted', 'incident', '' } end
      -- What is too long ago for this one may count for another: only their number is bounded.
      redis.call('ZREMRANGEBYRANK', K.losses, 0, -100001)
      if redis.call('ZCOUNT', K.losses, at - tonumber(A.lostMs), '+inf') >= tonumber(A.lostLimit) then
        redis.call('HSET', K.incidents, 'open', A.incident, 'openedAt', at)
        redis.call('HSET', K.outbox, 'incident.' .. A.incident, A.incidentEvent)
        return { 'noted', 'incident', '' }
      end
    end
  end

  if not approved then
    local waitMs, tokens = missingMs('stack', A.burst, A.perMinute)
    local typeWaitMs, typeTokens = missingMs('type:' .. A.type, A.typeBurst, A.typePerMinute)
    local longest = math.max(waitMs, typeWaitMs)
    if longest > 0 then return { 'noted', 'budget', tostring(longest) } end
    redis.call('HSET', K.budget, 'stack', tostring(tokens - 1), 'stack:at', at)
    if A.typeBurst ~= '' then
      redis.call('HSET', K.budget, 'type:' .. A.type, tostring(typeTokens - 1), 'type:' .. A.type .. ':at', at)
    end
  end

  redis.call('HSET', K.index, A.resource, A.repairIndex)
  apply(A.repairFields)
  if A.want == 'reconverge' then
    local wish = (stack[7] or '') ~= '' and stack[7] or tostring(at)
    redis.call('HSET', K.stack, 'wish', wish)
    redis.call('HSET', K.resource, 'wished', wish)
    return { 'wished', '', '' }
  end
  local fence = redis.call('HINCRBY', K.resource, 'fence', 1)
  redis.call('HINCRBY', K.resource, 'revision', 1)
  redis.call('HSET', K.resource, 'holder', A.look, 'until', at + tonumber(A.leaseMs), 'at', A.traversal .. '|',
    'deadline', at + tonumber(A.callMs), 'caller', A.look, 'waiting', '', 'since', at, 'called', 'update', 'calledAt', at)
  redis.call('ZADD', K.operations, at + tonumber(A.leaseMs) + tonumber(A.graceMs), A.resource)
  return { 'repairing', tostring(fence), '' }
end

local decided = decide()
redis.call('HSET', K.resource, 'looked', cjson.encode({ A.look, decided[1], decided[2], decided[3], at }))
return decided
