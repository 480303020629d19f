--[[
Keeps the hints of one shard that say which resources to look at and when, and which resource a physical id belongs to.
KEYS   watch physical clock
ARGV   now verb entries holdMs limit
RESULT ok now nextMs entries…
ATOMIC because a hint that came while somebody was looking must not be dropped: an observer changes only the very score that
       it was given.
An entry is stack, resource and type, one per line, then the physical id: the rest. A stack that wants a traversal is an entry
with nothing but its id.
verb: add (entries: JSON list of entry, delayMs, …; looked at no later than that), ensure (the same, for entries that are not
there), drop (these things are no more), pop (what is due is held for holdMs and answered as entry, score, …), return (entry, score, delayMs, …: look again then if nobody asked for it sooner; without a delay
it is dropped, and its physical id with it).
]]
--@include shard-clock
local at = shardNow()
local given = A.entries == '' and {} or cjson.decode(A.entries)
local popped = {}

local function physicalOf(entry)
  local resource, type, id = entry:match('^([^\n]*\n[^\n]*)\n([^\n]*)\n(.+)$')
  if not id then return nil end
  return type .. '\n' .. id, resource
end

local function point(entry)
  local key, resource = physicalOf(entry)
  if not key then return end
  local known = redis.call('HGET', K.physical, key)
  if not known then
    redis.call('HSET', K.physical, key, resource)
  elseif not ('\t' .. known .. '\t'):find('\t' .. resource .. '\t', 1, true) then
    redis.call('HSET', K.physical, key, known .. '\t' .. resource)
  end
end

local function forget(entry)
  local key, resource = physicalOf(entry)
  local known = key and redis.call('HGET', K.physical, key)
  if not known then return end
  local left = {}
  for one in known:gmatch('[^\t]+') do
    if one ~= resource then left[#left + 1] = one end
  end
  if #left == 0 then redis.call('HDEL', K.physical, key) else redis.call('HSET', K.physical, key, table.concat(left, '\t')) end
end

if A.verb == 'drop' then
  for _, entry in ipairs(given) do
    redis.call('ZREM', K.watch, entry)
    forget(entry)
  end
elseif A.verb == 'add' or A.verb == 'ensure' then
  for i = 1, #given, 2 do
    local score = tonumber(redis.call('ZSCORE', K.watch, given[i]) or 0)
    local due = math.floor(at + tonumber(given[i + 1]))
    -- In somebody's hand: what they return later knows nothing of this, and must not end it.
    if score % 1 ~= 0 then redis.call('ZADD', K.watch, math.min(due, math.floor(score)), given[i])
    else redis.call('ZADD', K.watch, A.verb == 'add' and 'LT' or 'NX', due, given[i]) end
    point(given[i])
  end
elseif A.verb == 'pop' then
  local due = redis.call('ZRANGEBYSCORE', K.watch, '-inf', at, 'LIMIT', 0, A.limit)
  for i, entry in ipairs(due) do
    -- A score no other call gives: only what is in somebody's hand has a fraction.
    local score = string.format('%.3f', at + tonumber(A.holdMs) + 0.001 * (1 + i % 900))
    redis.call('ZADD', K.watch, score, entry)
    popped[#popped + 1] = entry
    popped[#popped + 1] = redis.call('ZSCORE', K.watch, entry)
  end
else
  for i = 1, #given, 3 do
    if redis.call('ZSCORE', K.watch, given[i]) == given[i + 1] then
      if given[i + 2] ~= '' then
        redis.call('ZADD', K.watch, math.floor(at + tonumber(given[i + 2])), given[i])
      else
        redis.call('ZREM', K.watch, given[i])
        forget(given[i])
      end
    end
  end
end
local next = redis.call('ZRANGE', K.watch, 0, 0, 'WITHSCORES')[2]
return { 'ok', tostring(at), next and string.format('%d', math.ceil(math.max(0, tonumber(next) - at))) or '', popped }
