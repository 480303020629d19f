--[[
Notes what a person says became of a call of which nobody else can tell (RESOLVE).
KEYS   stack resource operations
ARGV   now resource revision physical answer
RESULT ok | changed
ATOMIC because what was asked about must be what is answered: nobody acts on the record, and nothing was found out since.
It is taken up like what is handed over, under a lease, and not before the call's deadline. physical: empty when nothing was made.
]]
--@include clock
local record = redis.call('HMGET', K.resource, 'revision', 'holder', 'until', 'intent', 'tombstone', 'handed', 'physical',
  'deadline')
-- The reply of this very answer was lost (R18).
if record[6] == A.answer then return { 'ok' } end
local at = now()
local held = (record[2] or '') ~= '' and tonumber(record[3]) > at
if record[1] ~= A.revision or record[5] or held or (record[4] or '') ~= '' or (record[6] or '') ~= '' or
    (record[7] or '') ~= '' then
  return { 'changed' }
end
redis.call('HSET', K.resource, 'handed', A.answer, 'handedPhysical', A.physical)
redis.call('ZADD', K.operations, math.max(at, tonumber(record[8]) or 0), A.resource)
return { 'ok' }
