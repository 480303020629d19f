-- admit(): a node became ready. It is pending from here on (R17); beyond the window it waits its turn in the queue.
local function admit(node, at, rings)
  if redis.call('ZCARD', K.pending) < tonumber(A.window) then
    redis.call('ZADD', K.pending, at + tonumber(A.ringMs), node)
    rings[#rings + 1] = ringOf(node)
  else
    redis.call('ZADD', K.queue, redis.call('HINCRBY', K.stack, 'queued', 1), node)
  end
end

-- refill(): what left the pending set makes room for the queue.
local function refill(at, rings)
  local room = tonumber(A.window) - redis.call('ZCARD', K.pending)
  if room <= 0 then return end
  local popped = redis.call('ZPOPMIN', K.queue, room)
  for i = 1, #popped, 2 do
    redis.call('ZADD', K.pending, at + tonumber(A.ringMs), popped[i])
    rings[#rings + 1] = ringOf(popped[i])
  end
end

-- isStuck(): nothing can move any more and not all is done. O(1) (R16).
local function isStuck()
  if redis.call('EXISTS', K.pending) == 1 or redis.call('EXISTS', K.queue) == 1 then return false end
  local left = redis.call('HMGET', K.stack, 'updatesLeft', 'cleanupsLeft')
  return tonumber(left[1]) + tonumber(left[2]) > 0
end
