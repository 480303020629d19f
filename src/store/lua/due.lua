--[[
Keeps the hints that say which stacks have something due, in one shard.
KEYS   due clock
ARGV   now verb stack delayMs score holdMs limit
RESULT ok nextMs stacks…
ATOMIC because a hint that a starter wrote while a sweeper was looking must not be dropped: the sweeper drops only the very
       score that it gave.
verb: add (not later than delayMs from now), pop (what is due is held for holdMs and answered as id, score, …), set (score is
the popped one: look again in delayMs), drop (score likewise).
]]
--@include shard-clock
local at = shardNow()
local stacks = {}
if A.verb == 'add' then
  redis.call('ZADD', K.due, 'LT', at + tonumber(A.delayMs), A.stack)
elseif A.verb == 'pop' then
  local due = redis.call('ZRANGEBYSCORE', K.due, '-inf', at, 'LIMIT', 0, A.limit)
  for i, stack in ipairs(due) do
    -- A score no other call gives: the fraction tells this pop from a hint for the same millisecond.
    local score = string.format('%.3f', at + tonumber(A.holdMs) + 0.001 * (1 + i % 900))
    redis.call('ZADD', K.due, score, stack)
    stacks[#stacks + 1] = stack
    stacks[#stacks + 1] = redis.call('ZSCORE', K.due, stack)
  end
elseif redis.call('ZSCORE', K.due, A.stack) == A.score then
  if A.verb == 'set' then
    redis.call('ZADD', K.due, at + tonumber(A.delayMs), A.stack)
  else
    redis.call('ZREM', K.due, A.stack)
  end
end
local next = redis.call('ZRANGE', K.due, 0, 0, 'WITHSCORES')[2]
return { 'ok', next and string.format('%d', math.ceil(math.max(0, tonumber(next) - at))) or '', stacks }
