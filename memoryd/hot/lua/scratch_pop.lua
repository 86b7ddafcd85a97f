-- scratch_pop: take values from a list, the first or the last ones.
-- ARGV  7 name  8 where: 0 the first, -1 the last  9 how many at most
-- Returns {'done', value as JSON, …} in the order in which they were taken, {'type'} (no list), {'reused'}.
-- Atomic because of two who would take the same value.
local first = told(KEYS[2], ARGV[1], ARGV[2])
if first then return first end
local known = text_of(ARGV[7])
if known and string.sub(known, 1, 1) ~= '[' then return { 'type' } end
local taken = {}
while known and #taken < tonumber(ARGV[9]) do
  local value = redis.call('JSON.ARRPOP', KEYS[1], path(ARGV[7]), ARGV[8])[1]
  if not value then break end
  taken[#taken + 1] = value
end
return done(unpack(taken))
