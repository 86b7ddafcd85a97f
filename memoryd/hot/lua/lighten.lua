-- lighten: take the content out of the record of a memory of the tier `long`, which the caller has seen whole in the archive.
-- KEYS  1 record  2 journal
-- ARGV  1 the version that was seen there  2 the archive's seal of it
-- Returns light | absent | changed (it is another version by now, of another tier, or waits for its vector) | waiting (a
--       follower has not passed what the journal holds of it: a forget needs the record to find these entries).
-- Vector, filters and counters stay, so that its meaning is found. Atomic because a change between the look and the removal
-- would be lost.
local record = read_record(KEYS[1])
if not record.id then return 'absent' end
if record.version ~= ARGV[1] or record.tier ~= 'long' or record.pending == '1' then return 'changed' end
if not record.content then return 'light' end
for entry in string.gmatch(record.entries or '', '[^,]+') do
  if #redis.call('XRANGE', KEYS[2], entry, entry) > 0 then return 'waiting' end
end
record.entries = nil
lighten(record, ARGV[2])
write_record(KEYS[1], record)
return 'light'
