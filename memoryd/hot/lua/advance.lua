-- advance: acknowledge entries, note how far their follower has come, and trim the journal below the slowest one.
-- KEYS  1 journal  2 place
-- ARGV  1 group  2 the run of the Redis that got the effects  3.. the entries that are done
-- Returns the id up to which this group has done everything, or false without a journal. Also false when Redis was
-- restarted since: it may have lost its last second, and with it what was done for the entries. They come again.
-- Atomic because the trim must not pass an entry that is delivered between the look and the cut, and because nobody
-- comes back for an entry that is acknowledged: its place would wait for the bucket's next one.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end -- an emptied Redis: there is no journal to be in
if run_of_redis() ~= ARGV[2] then return false end
if ARGV[3] then redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3)) end

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

local mine, needed
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = {}
  for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
  local done = group['last-delivered-id']
  local next = following(done)
  if group.pending > 0 then
    next = redis.call('XPENDING', KEYS[1], group.name)[2]
    done = previous(next)
  end
  if group.name == ARGV[1] then mine = done end
  if not needed or before(next, needed) then needed = next end
end
-- The trim goes first: a Redis that has reached its maxmemory allows it, and after it the note as well.
if needed then redis.call('XTRIM', KEYS[1], 'MINID', needed) end
if mine then redis.call('HSET', KEYS[2], ARGV[1], mine) end
return mine
