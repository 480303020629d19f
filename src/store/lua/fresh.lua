--[[
Notes that a look that began at seenAt found nothing new.
KEYS   resource
ARGV   revision seenAt
RESULT ok | changed
ATOMIC because a record that changed since the look began was not looked at, and one that is gone must not come back.
]]
if redis.call('HGET', K.resource, 'revision') ~= A.revision then return { 'changed' } end
redis.call('HSET', K.resource, 'observedAt', A.seenAt)
redis.call('HDEL', K.resource, 'looked')
return { 'ok' }
