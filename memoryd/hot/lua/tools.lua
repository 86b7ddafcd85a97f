-- Prepended to the scripts of the tool cache, after common.lua. One agent's cache is a hash: each entry's note (JSON) under
-- its name, the result it has under its name and ':result', and counts under '#…'. A sorted set beside it holds when each
-- entry is due to go. Times are Redis's own, in milliseconds: a lease that one daemon gives, another one must judge.
-- An entry that answers a question in words has a key of its own, with the question's vector. It goes with the entry's time;
-- of an entry that goes before that, the caller removes it: its name is among those that are `dropped`.
local dropped = {}

local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function note_of(cache, name)
  local raw = redis.call('HGET', cache, name)
  return raw and cjson.decode(raw)
end

local function drop(cache, due, name)
  local note = note_of(cache, name)
  if note then redis.call('HINCRBY', cache, '#bytes', -note.bytes) end
  if note and note.asked then dropped[#dropped + 1] = name end
  redis.call('HDEL', cache, name, name .. ':result')
  redis.call('ZREM', due, name)
end

-- A few at a time: each call pays for what went out of date since the last one.
local function drop_due(cache, due, now)
  for _, name in ipairs(redis.call('ZRANGE', due, 0, now, 'BYSCORE', 'LIMIT', 0, 64)) do drop(cache, due, name) end
end

-- Drops what is due next, but no computation in progress, until another entry fits; false when nothing more can go.
local function make_room(cache, due, entries_max, bytes_max, bytes)
  local function full()
    return redis.call('ZCARD', due) >= entries_max or tonumber(redis.call('HGET', cache, '#bytes') or '0') + bytes > bytes_max
  end
  if not full() then return true end
  for _, name in ipairs(redis.call('ZRANGE', due, 0, -1)) do
    if note_of(cache, name).state ~= 'claimed' then
      drop(cache, due, name)
      if not full() then return true end
    end
  end
  return false
end

local function put(cache, due, name, note, until_ms)
  note.bytes = note.bytes or 0
  redis.call('HSET', cache, name, cjson.encode(note))
  redis.call('HINCRBY', cache, '#bytes', note.bytes)
  redis.call('ZADD', due, until_ms, name)
  local last = redis.call('ZRANGE', due, -1, -1, 'WITHSCORES')[2]
  for _, key in ipairs({ cache, due }) do redis.call('PEXPIREAT', key, last) end
end

local function count(cache, what)
  redis.call('HINCRBY', cache, '#' .. what, 1)
end
