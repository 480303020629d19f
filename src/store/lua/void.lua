--[[
Makes sure that a stack id whose name was claimed but which never came to be never will.
KEYS   stack
ARGV   ttlMs
RESULT ok | exists
ATOMIC because the claimer may be creating it at this moment: either it exists, or its create finds the mark.
]]
if redis.call('HEXISTS', K.stack, 'traversal') == 1 then return { 'exists' } end
redis.call('HSET', K.stack, 'void', '1')
redis.call('PEXPIRE', K.stack, A.ttlMs)
return { 'ok' }
