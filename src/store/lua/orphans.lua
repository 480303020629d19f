--[[
Keeps what the slow sweep found: things that carry our marks and that no record knows.
KEYS   findings budgets clock
ARGV   now verb entries limit taker holdMs perMinute
RESULT ok now entries… | gone | busy ms | budget ms
ATOMIC because two observers must not both remove one thing, and a sighting must not undo what a person decided.
Findings are JSON by id. verb: note (entries: id, JSON, …; they are seen now, and new ones kept as long as there are fewer than
limit), set (the same for those that are there, without a sighting), take (entries: id, type; nobody else than taker may remove it
for holdMs). note and set answer id, JSON, … as stored.
]]
--@include shard-clock
local at = shardNow()
local given = cjson.decode(A.entries)

if A.verb == 'take' then
  local text = redis.call('HGET', K.findings, given[1])
  if not text then return { 'gone' } end
  local finding = cjson.decode(text)
  if finding.taker ~= A.taker then
    if (finding.takenUntil or 0) > at then return { 'busy', finding.takenUntil - at } end
    local most, type = tonumber(A.perMinute), given[2]
    local tokens, since = unpack(redis.call('HMGET', K.budgets, type, type .. '@'))
    local left = math.min(most, tonumber(tokens or most) + (at - tonumber(since or at)) * most / 60000)
    if left < 1 then return { 'budget', math.ceil((1 - left) * 60000 / most) } end
    redis.call('HSET', K.budgets, type, tostring(left - 1), type .. '@', at)
    finding.taker, finding.takenUntil = A.taker, at + tonumber(A.holdMs)
    redis.call('HSET', K.findings, given[1], cjson.encode(finding))
  end
  return { 'ok', tostring(at), {} }
end

local answers = {}
local room = tonumber(A.limit) - redis.call('HLEN', K.findings)
for i = 1, #given, 2 do
  local text = redis.call('HGET', K.findings, given[i])
  if not text and A.verb == 'note' then room = room - 1 end
  if text or (A.verb == 'note' and room >= 0) then
    local finding = cjson.decode(text or '{}')
    for name, value in pairs(cjson.decode(given[i + 1])) do finding[name] = value end
    finding.firstSeen = finding.firstSeen or at
    if A.verb == 'note' then finding.lastSeen = at end
    local merged = cjson.encode(finding)
    redis.call('HSET', K.findings, given[i], merged)
    answers[#answers + 1] = given[i]
    answers[#answers + 1] = merged
  end
end
return { 'ok', tostring(at), answers }
