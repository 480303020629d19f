--[[
Reads what a look must know before it reads reality.
KEYS   stack resource
ARGV   now
RESULT gone | ok now traversal open unsettled status action paused goalPolicy policy askedAt stackRevision record
ATOMIC because record and traversal of different moments could look like a resource at rest. record is field, value, …
]]
--@include clock
local record = redis.call('HGETALL', K.resource)
local stack = redis.call('HMGET', K.stack, 'traversal', 'open', 'unsettled', 'status', 'action', 'paused', 'goalPolicy',
  'policy', 'askedAt', 'revision')
if #record == 0 or not stack[1] then return { 'gone' } end
return { 'ok', tostring(now()), stack[1], stack[2] or '', stack[3] or '', stack[4] or '', stack[5] or '', stack[6] or '',
  stack[7] or '', stack[8] or '', stack[9] or '', stack[10], record }
