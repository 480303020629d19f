-- A ring tells the caller what to notify: node, resource and pool, one per line.
local function ringOf(node)
  local about = redis.call('HGET', K.graph, 'i:' .. node)
  if not about then return nil end
  local pool, resource = about:match('^([^\n]*)\n([^\n]*)')
  return node .. '\n' .. (redis.call('HGET', K.sync, 'r:' .. node) or resource) .. '\n' .. pool
end

-- isCurrent(): R8. Only the newest traversal's opened attempt may go on.
local function isCurrent()
  local stack = redis.call('HMGET', K.stack, 'traversal', 'open')
  return stack[1] == A.traversal and stack[2] == A.attempt
end

-- ringOfMark(): whom the holder of this resource must ring for when it lets go (R13); a superseded mark is void.
local function ringOfMark()
  local mark = redis.call('HGET', K.resource, 'mark')
  if not mark or mark == '' then return nil end
  local traversal, attempt, node, pool = mark:match('^(%d+)\n([^\n]*)\n([^\n]*)\n([^\n]*)$')
  local stack = redis.call('HMGET', K.stack, 'traversal', 'open')
  if traversal ~= stack[1] or attempt ~= stack[2] then
    redis.call('HSET', K.resource, 'mark', '')
    return nil
  end
  return traversal .. '\n' .. attempt .. '\n' .. node .. '\n' .. A.resource .. '\n' .. pool
end
