--[[
Reads what says how one resource stands and what its nodes wait for, of one moment.
KEYS   stack graph sync resource pending queue operations lost incidents
ARGV   now traversal attempt resource nodes limit
RESULT gone | moved traversal attempt | ok now stack record nodes… operation since lost incident openedAt verdict
ATOMIC because what was read at different moments could look like something that waits for nothing.
moved: the caller's traversal and attempt, which name the keys, are not the current ones. nodes: a JSON list; each is answered
as node, about, predecessors, arrived, done, failed, ring time, place in the queue, the incarnation that has taken it
over, then up to so many (limit) of the predecessors that have not arrived.
]]
--@include clock
local stack = redis.call('HGETALL', K.stack)
local known = redis.call('HMGET', K.stack, 'traversal', 'open')
if not known[1] then return { 'gone' } end
if known[1] ~= A.traversal or (known[2] or '') ~= A.attempt then return { 'moved', known[1], known[2] or '' } end

local function missingOf(node, missing)
  local all = {}
  for predecessor in (redis.call('HGET', K.graph, 'p:' .. node) or ''):gmatch('[^\n]+') do all[#all + 1] = predecessor end
  local left = tonumber(A.limit)
  for _, predecessor in ipairs(all) do
    if left == 0 then return end
    if redis.call('HEXISTS', K.sync, node .. '\n' .. predecessor) == 0 then
      missing[#missing + 1] = predecessor
      left = left - 1
    end
  end
end

local nodes = {}
for _, node in ipairs(cjson.decode(A.nodes)) do
  local graph = redis.call('HMGET', K.graph, 'i:' .. node, 'c:' .. node)
  if graph[1] then
    local sync = redis.call('HMGET', K.sync, 'n:' .. node, 'd:' .. node, 'f:' .. node, 'r:' .. node)
    local place = redis.call('ZRANK', K.queue, node)
    local told = { node, graph[1], graph[2] or '0', sync[1] or '0', sync[2] and '1' or '', sync[3] and '1' or '',
      redis.call('ZSCORE', K.pending, node) or '', place and tostring(place + 1) or '', sync[4] or '' }
    missingOf(node, told)
    nodes[#nodes + 1] = told
  end
end
local incident = redis.call('HMGET', K.incidents, 'open', 'openedAt', 'approved:' .. A.resource, 'dismissed:' .. A.resource)
local verdict = incident[3] and 'approved' or incident[4] and 'dismissed' or ''
return { 'ok', tostring(now()), stack, redis.call('HGETALL', K.resource), nodes,
  redis.call('ZSCORE', K.operations, A.resource) or '', redis.call('ZSCORE', K.lost, A.resource) or '',
  tostring(redis.call('ZCARD', K.lost)), incident[1] or '', incident[2] or '', verdict }
