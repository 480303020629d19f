--[[
Notes that looks at resources of one stack found nothing new.
KEYS   resources…
ARGV   seen
RESULT ok known…
ATOMIC because a record that changed since the look began was not looked at, and one that is gone must not come back.
seen: JSON list of the revision that was looked at and when the look began, for each resource. known: 1, or empty for a resource
that has changed.
]]
local seen = cjson.decode(A.seen)
local known = {}
for i, key in ipairs(K.resources) do
  known[i] = redis.call('HGET', key, 'revision') == seen[2 * i - 1] and '1' or ''
  if known[i] == '1' then
    redis.call('HSET', key, 'observedAt', seen[2 * i])
    redis.call('HDEL', key, 'looked')
  end
end
return { 'ok', known }
