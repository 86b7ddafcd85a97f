-- lighten: take the content out of the record of a memory of the tier `long`, which the caller has seen whole in the archive,
-- and half of its vector.
-- KEYS  1 record  2 journal
-- ARGV  1 the version that was seen there  2 the archive's seal of it  3 the slot of the vector that is read  4 its model
--       5 the context that it was made in  6 the vector as float16
-- Returns light | absent | changed (it is another version by now, of another tier, waits for its vector, or has another one)
--       | waiting (a follower has not passed what the journal holds of it: a forget needs the record to find these entries).
-- Filters and counters stay, and enough of the vector that its meaning is found. A record that is light already may have its
-- vector whole: it got that later. Atomic because a change between the look and the removal would be lost.
local record = read_record(KEYS[1])
if not record.id then return 'absent' end
if record.version ~= ARGV[1] or record.tier ~= 'long' or record.pending == '1' then return 'changed' end
local slot = ARGV[3]
if record['embedding_model' .. slot] ~= ARGV[4] or (record.context or '0') ~= ARGV[5] then return 'changed' end
if not record.content and not record['embedding' .. slot] then return 'light' end
for entry in string.gmatch(record.entries or '', '[^,]+') do
  if #redis.call('XRANGE', KEYS[2], entry, entry) > 0 then return 'waiting' end
end
record.entries = nil
lighten(record, ARGV[2], slot, ARGV[6])
write_record(KEYS[1], record)
return 'light'
