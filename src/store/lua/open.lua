--[[
Opens a traversal with one attempt's graph: the one switch that several preparers race for (OPEN).
KEYS   stack graph sync pending queue garbage
ARGV   now traversal attempt updates cleanups ready window ringMs policy
RESULT ok milestone rings… | repeated milestone rings… | stale
ATOMIC because the graph, the counters and the first ready nodes must be one and the same attempt's (R8, R17).
]]
--@include clock ring admit pass finish
local stack = redis.call('HMGET', K.stack, 'traversal', 'open')
if stack[1] ~= A.traversal then return { 'stale' } end
if stack[2] == A.attempt then
  local pending = {}
  for _, node in ipairs(redis.call('ZRANGE', K.pending, 0, -1)) do pending[#pending + 1] = ringOf(node) end
  return { 'repeated', isMilestone() and '1' or '', pending }
end
if stack[2] ~= '' then return { 'stale' } end
local at = now()
redis.call('HSET', K.stack, 'open', A.attempt, 'begin', '', 'updatesLeft', A.updates, 'cleanupsLeft', A.cleanups,
  'queued', A.ready, 'goalPolicy', A.policy)
if tonumber(A.updates) + tonumber(A.cleanups) == 0 then reachGoal() end
local rings = {}
refill(at, rings)
return { 'ok', isMilestone() and '1' or '', rings }
