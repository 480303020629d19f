--[[
Points a name from one stack id to another, or to none.
KEYS   names
ARGV   name from to
RESULT ok | other id
ATOMIC because two creates may want the same name at once.
from is empty when the name must be free; to is empty to free it. Asked again with the same result wanted, it is ok (R18).
]]
local id = redis.call('HGET', K.names, A.name)
if (id or '') == A.to then return { 'ok' } end
if (id or '') ~= A.from then return { 'other', id or '' } end
if A.to == '' then redis.call('HDEL', K.names, A.name) else redis.call('HSET', K.names, A.name, A.to) end
return { 'ok' }
