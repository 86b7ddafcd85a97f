-- put_away: remove the record of an archived memory, which the caller has seen whole in the archive.
-- KEYS  1 record  2 journal
-- ARGV  1 the version that was seen there
-- Returns gone | absent | changed (it is another version by now, or is to stay) | waiting (a follower has not passed what
--       the journal holds of it: a forget needs the record to find these entries).
-- An event keeps its place on its session's timeline: a forget learns from it whose vectors have heard this one.
-- Atomic because a change between the look and the removal would be lost.
local known = redis.call('HMGET', KEYS[1], 'version', 'tier', 'entries', 'pending')
if not known[1] then return 'absent' end
if known[1] ~= ARGV[1] or known[2] ~= 'archive' then return 'changed' end
for entry in string.gmatch(known[3] or '', '[^,]+') do
  if #redis.call('XRANGE', KEYS[2], entry, entry) > 0 then return 'waiting' end
end
redis.call('DEL', KEYS[1])
return 'gone'
