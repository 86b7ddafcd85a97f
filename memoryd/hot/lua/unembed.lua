-- unembed: make a memory pending again, so that it gets the vector of another model.
-- KEYS  1 record  2 journal
-- ARGV  1 the model whose vectors stay  2 their length in bytes  3 the slot that they are in  4 the length of half of one
--       5.. fields and values that follow from the content anew
-- Returns the journal entry's id, or false when the memory is gone or has that model's vector.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = read_record(KEYS[1])
local slot = ARGV[3]
if not record.id then return false end
local vector, name = vector_in(record, slot)
local length = tonumber(name == 'half' and ARGV[4] or ARGV[2])
local fits = record['embedding_model' .. slot] == ARGV[1] and #(vector or '') == length
local said, stamp_before = record.brief, record.stamp
for i = 5, #ARGV, 2 do record[ARGV[i]] = ARGV[i + 1] end
local told, stamp = brief(record)
local anew = told_by(record)
for i = 5, #ARGV do anew[#anew + 1] = ARGV[i] end
if fits then
  if (record.content and said ~= told) or stamp_before ~= stamp then redis.call('HSET', KEYS[1], unpack(anew)) end
  return false
end
drop_vectors(KEYS[1], record)
local entry = journal_record(KEYS[2], 'updated', '', record)
redis.call('HSET', KEYS[1], 'pending', '1', 'entries', entries_with(record.entries, KEYS[2], entry), unpack(anew))
return entry
