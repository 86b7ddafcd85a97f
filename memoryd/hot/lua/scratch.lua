-- Prepended to the scripts of scratchpads, after common.lua. A pad is one JSON object. Its names are tags, so that none of
-- them can be the syntax of a path.
-- KEYS  1 pad  2 answers
-- ARGV  1 request  2 fingerprint  3 how long its answer is known, in milliseconds  4 ttl of the pad in seconds
--       5 bytes limit  6 names limit  7.. the step's own

local function path(name)
  return '$["' .. name .. '"]'
end

-- A value as JSON, or nil.
local function text_of(name)
  local raw = redis.call('JSON.GET', KEYS[1], path(name))
  return raw and raw ~= '[]' and string.sub(raw, 2, -2) or nil
end

-- Writes values by name, if the pad has room for all of them, and gives it its whole life again; else the word to answer.
local function write(values)
  local pad = redis.call('JSON.GET', KEYS[1])
  local bytes, names = #(pad or '{}'), pad and redis.call('JSON.OBJLEN', KEYS[1]) or 0
  for name, text in pairs(values) do
    local old = text_of(name)
    -- A new name brings quotes and a colon, and a comma unless it is the first.
    bytes = bytes + #text + (old and -#old or #name + (names == 0 and 3 or 4))
    names = names + (old and 0 or 1)
  end
  if bytes > tonumber(ARGV[5]) or names > tonumber(ARGV[6]) then return 'full' end
  if not pad then redis.call('JSON.SET', KEYS[1], '$', '{}') end
  for name, text in pairs(values) do redis.call('JSON.SET', KEYS[1], path(name), text) end
  redis.call('EXPIRE', KEYS[1], ARGV[4])
end

local function done(...)
  return tell(KEYS[2], ARGV[1], ARGV[2], ARGV[3], { 'done', ... })
end
