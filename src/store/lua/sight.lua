--[[
Reads what looks at resources of one stack must know before they read reality.
KEYS   stack resources…
ARGV   now
RESULT gone | ok now traversal open unsettled status action paused goalPolicy policy askedAt stackRevision records…
ATOMIC because record and traversal of different moments could look like a resource at rest. A record is a JSON list of field,
       value, …, or empty for a resource that is gone: one text is read many times faster than as many replies.
]]
--@include clock
local stack = redis.call('HMGET', K.stack, 'traversal', 'open', 'unsettled', 'status', 'action', 'paused', 'goalPolicy',
  'policy', 'askedAt', 'revision')
if not stack[1] then return { 'gone' } end
local records = {}
for i, key in ipairs(K.resources) do
  local record = redis.call('HGETALL', key)
  records[i] = #record == 0 and '' or cjson.encode(record)
end
return { 'ok', tostring(now()), stack[1], stack[2] or '', stack[3] or '', stack[4] or '', stack[5] or '', stack[6] or '',
  stack[7] or '', stack[8] or '', stack[9] or '', stack[10], records }
