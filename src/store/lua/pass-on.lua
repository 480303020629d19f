--[[
Arrives at a further chunk of a finished node's successors (ARRIVE).
KEYS   stack graph sync pending queue
ARGV   now traversal attempt node chunk window ringMs
RESULT ok more rings… | stale
ATOMIC because an arrival counts once and the last one makes its node ready and pending in the same step (R11, R17).
]]
--@include clock ring admit pass
if not isCurrent() then return { 'stale' } end
local value = redis.call('HGET', K.sync, 'd:' .. A.node)
if not value then return { 'stale' } end
local rings = {}
local more = pass(A.node, tonumber(A.chunk), value, now(), rings)
return { 'ok', more and '1' or '', rings }
