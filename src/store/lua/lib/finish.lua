-- reachGoal(): every update is done. This goal is now what a rollback goes to (R7), in the same step.
local function reachGoal()
  local stack = redis.call('HMGET', K.stack, 'action', 'goal', 'lastGood', 'base', 'traversal')
  if stack[1] == 'delete' or stack[2] == stack[3] then return end
  redis.call('HSET', K.stack, 'lastGood', stack[2])
  if stack[3] ~= '' and stack[3] ~= stack[4] then redis.call('ZADD', K.garbage, stack[5], 't:' .. stack[3]) end
end

-- finish(): the node is done, once; `value` is what its successors get.
local function finish(node, value)
  if redis.call('HSETNX', K.sync, 'd:' .. node, value) == 0 then return end
  local isUpdate = node:sub(1, 2) == 'u:'
  local left = redis.call('HINCRBY', K.stack, isUpdate and 'updatesLeft' or 'cleanupsLeft', -1)
  if isUpdate and left == 0 then reachGoal() end
end

-- isMilestone(): whether the stack's own machine has something to hear.
local function isMilestone()
  local stack = redis.call('HMGET', K.stack, 'updatesLeft', 'cleanupsLeft', 'status', 'action')
  if stack[1] ~= '0' then return false end
  return stack[2] == '0' or (stack[3] == 'CONVERGING' and stack[4] ~= 'delete')
end
