--[[
Remembers when the sources of events were last heard of, and answers which of them are quiet.
KEYS   heard clock
ARGV   now verb types quietMs
RESULT ok types…
ATOMIC because nothing that was heard may be taken back by a clock that stepped back.
verb: note (these types were heard of) or flowing (which of these types were heard of within quietMs). types: a JSON list.
]]
--@include shard-clock
local at = shardNow()
local flowing = {}
for _, type in ipairs(cjson.decode(A.types)) do
  if A.verb == 'note' then
    redis.call('HSET', K.heard, type, at)
  elseif at - tonumber(redis.call('HGET', K.heard, type) or 0) < tonumber(A.quietMs) then
    flowing[#flowing + 1] = type
  end
end
return { 'ok', flowing }
