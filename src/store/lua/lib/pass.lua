-- pass(): arrive at one chunk of the node's successors (R14). Twice counts once (R11); a successor that is ready but
-- whose ring may be lost is rung again. Answers whether a further chunk is left.
local function pass(node, chunk, value, at, rings)
  local successors = redis.call('HGET', K.graph, 's' .. chunk .. ':' .. node)
  if not successors then return false end
  for successor in successors:gmatch('[^\n]+') do
    if redis.call('HSETNX', K.sync, successor .. '\n' .. node, value) == 1 then
      local arrived = redis.call('HINCRBY', K.sync, 'n:' .. successor, 1)
      if arrived == tonumber(redis.call('HGET', K.graph, 'c:' .. successor)) then admit(successor, at, rings) end
    elseif redis.call('ZSCORE', K.pending, successor) and redis.call('HEXISTS', K.sync, 'd:' .. successor) == 0 then
      rings[#rings + 1] = ringOf(successor)
    end
  end
  redis.call('HSET', K.sync, 'c:' .. node, chunk)
  return redis.call('HEXISTS', K.graph, 's' .. (chunk + 1) .. ':' .. node) == 1
end
