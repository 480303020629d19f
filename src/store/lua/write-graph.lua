--[[
Writes one chunk of an attempt at a traversal's graph (PREPARE).
KEYS   stack graph queue garbage
ARGV   traversal attempt fields ready
RESULT ok | stale
ATOMIC because a late writer must not write under a traversal that is over or already open (R8).
fields is a JSON list of name, value, …; ready a JSON list of score, node, …
]]
local stack = redis.call('HMGET', K.stack, 'traversal', 'open')
if stack[1] ~= A.traversal or stack[2] ~= '' then return { 'stale' } end
redis.call('ZADD', K.garbage, A.traversal, 'n:' .. A.traversal .. ':' .. A.attempt, A.traversal,
  'w:' .. A.traversal .. ':' .. A.attempt)
local fields = cjson.decode(A.fields)
for first = 1, #fields, 1000 do redis.call('HSET', K.graph, unpack(fields, first, math.min(first + 999, #fields))) end
local ready = cjson.decode(A.ready)
for i = 1, #ready, 2 do redis.call('ZADD', K.queue, ready[i], ready[i + 1]) end
return { 'ok' }
