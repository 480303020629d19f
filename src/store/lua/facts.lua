--[[
Reads what the stack's machine wants to know of its traversal's progress.
KEYS   stack pending queue
ARGV
RESULT ok revision snapshot traversal open updatesLeft cleanupsLeft why stuck unsettled inService | missing
ATOMIC because counters and sets of different moments could look like a stack that is stuck.
]]
local stack = redis.call('HMGET', K.stack, 'revision', 'snapshot', 'traversal', 'open', 'updatesLeft', 'cleanupsLeft',
  'why', 'unsettled', 'goal', 'lastGood')
if not stack[1] then return { 'missing' } end
local idle = redis.call('EXISTS', K.pending) == 0 and redis.call('EXISTS', K.queue) == 0
local left = tonumber(stack[5]) + tonumber(stack[6])
return { 'ok', stack[1], stack[2], stack[3], stack[4], stack[5], stack[6], stack[7],
  (idle and left > 0 and stack[4] ~= '' and stack[4] ~= '-') and '1' or '', stack[8], stack[9] == stack[10] and '1' or '' }
