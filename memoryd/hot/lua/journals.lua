-- What the steps of a journal's followers share.

local function id_parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function before(a, b)
  local am, as = id_parts(a)
  local bm, bs = id_parts(b)
  return am < bm or (am == bm and as < bs)
end
local function following(id)
  local ms, seq = id_parts(id)
  return string.format('%.0f-%.0f', ms, seq + 1)
end
local function previous(id)
  local ms, seq = id_parts(id)
  if seq > 0 then return string.format('%.0f-%.0f', ms, seq - 1) end
  return string.format('%.0f-18446744073709551615', ms - 1)
end

-- Notes how far a group has come, and trims the journal below the slowest one. Returns the id up to which this group has done
-- everything.
local function note(journal, place, name)
  local mine, needed
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', journal)) do
    local group = {}
    for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
    local done = group['last-delivered-id']
    local next = following(done)
    if group.pending > 0 then
      next = redis.call('XPENDING', journal, group.name)[2]
      done = previous(next)
    end
    if group.name == name then mine = done end
    if not needed or before(next, needed) then needed = next end
  end
  -- The trim goes first: a Redis that has reached its maxmemory allows it, and after it the note as well.
  if needed then redis.call('XTRIM', journal, 'MINID', needed) end
  if mine then redis.call('HSET', place, name, mine) end
  return mine
end
