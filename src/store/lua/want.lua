--[[
Notes that somebody wants a resource to be looked at, where that cannot be done at once.
KEYS   stack resource
ARGV   now
RESULT ok | gone
ATOMIC because a record that is gone must not come back with nothing else in it.
]]
--@include clock
if redis.call('HEXISTS', K.resource, 'revision') == 0 then return { 'gone' } end
redis.call('HSET', K.resource, 'wantedAt', now())
return { 'ok' }
