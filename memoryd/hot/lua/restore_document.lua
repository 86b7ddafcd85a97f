-- restore_document: bring a document back from the archive, unless it is here or was ended since.
-- KEYS  1 document  2 tombstone  3 filter of the ids seen
-- ARGV  1-6 place  7 body  8 version  9 ttl of the document ('0' = permanent)
-- Returns 1, or 0 when it did nothing.
-- Atomic because a writer between the look and the copy would be overwritten by its own past.
local place = place_of(ARGV)
if redis.call('EXISTS', KEYS[1]) == 1 or ended_version(KEYS[2]) >= tonumber(ARGV[8]) then return 0 end
redis.call('JSON.SET', KEYS[1], '$', with_bookkeeping(place, ARGV[8], '', ARGV[7]))
if ARGV[9] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[9]) end
seen(KEYS[3], place.id)
return 1
