--[[
Hands over a thing that a fenced worker made (HANDOVER): a fact about reality, which needs no lease.
KEYS   stack resource stray operations index
ARGV   now resource strayResource physical thing strayFields strayIndex
RESULT known | handed | stray
ATOMIC because a commit that concludes "nothing there" must either see the thing or come first and leave it to this script (R10).
stray: the record is gone or has another thing, so that a record in deleting was made for this one.
]]
--@include clock
local at = now()
local record = redis.call('HMGET', K.resource, 'physical', 'tombstone', 'handed', 'snapshot')
if record[1] == A.physical and not record[2] then return { 'known' } end
if record[3] == A.thing then return { 'handed' } end
if record[4] and not record[2] and (record[1] or '') == '' and (record[3] or '') == '' then
  redis.call('HSET', K.resource, 'handed', A.thing)
  redis.call('ZADD', K.operations, at, A.resource)
  return { 'handed' }
end
if redis.call('EXISTS', K.stray) == 0 then
  local fields = cjson.decode(A.strayFields)
  redis.call('HSET', K.stray, unpack(fields))
  redis.call('HSET', K.stray, 'deadline', at)
  redis.call('HSET', K.index, A.strayResource, A.strayIndex)
  redis.call('ZADD', K.operations, at, A.strayResource)
end
return { 'stray' }
