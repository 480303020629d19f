--[[
Hands over a thing that a fenced worker made (HANDOVER): a fact about reality, which needs no lease.
KEYS   stack resource stray operations index
ARGV   now resource holder strayResource physical thing strayFields strayIndex
RESULT known | handed | stray
ATOMIC because a commit that concludes "nothing there" must either see the thing or come first and leave it to this script (R10).
holder: whose call made the thing. That call is over; one that another stored since may take effect until its deadline.
stray: the record is gone or has another thing, so that a record in deleting was made for this one.
]]
--@include clock
local at = now()
local record = redis.call('HMGET', K.resource, 'physical', 'tombstone', 'handed', 'snapshot',
  'handedPhysical', 'caller', 'deadline')
if record[1] == A.physical and not record[2] then return { 'known' } end
local first = (record[3] or '') == ''
if record[4] and not record[2] and (record[1] or '') == '' and (first or record[5] == A.physical) then
  if first then redis.call('HSET', K.resource, 'handed', A.thing, 'handedPhysical', A.physical) end
  local due = at
  if record[6] == A.holder then
    redis.call('HSET', K.resource, 'deadline', at)
  else
    due = math.max(at, tonumber(record[7]) or 0)
  end
  redis.call('ZADD', K.operations, due, A.resource)
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
