-- unembed: make a memory pending again, so that it gets the vector of another model.
-- KEYS  1 record  2 journal
-- ARGV  1 the model whose vectors stay  2 their length in bytes  3 the slot that they are in  4.. fields and values that follow from the content anew
-- Returns the journal entry's id, or false when the memory is gone or has that model's vector.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = read_record(KEYS[1])
local slot = ARGV[3]
local fits = record['embedding_model' .. slot] == ARGV[1] and #(record['embedding' .. slot] or '') == tonumber(ARGV[2])
if not record.id then return false end
for i = 4, #ARGV, 2 do record[ARGV[i]] = ARGV[i + 1] end
local told, stamp = brief(record)
local anew = { 'brief', told, 'stamp', stamp }
for i = 4, #ARGV do anew[#anew + 1] = ARGV[i] end
if fits then
  if record.brief ~= told or record.stamp ~= stamp then redis.call('HSET', KEYS[1], unpack(anew)) end
  return false
end
drop_vectors(KEYS[1], record)
local entry = journal_record(KEYS[2], 'updated', '', record)
redis.call('HSET', KEYS[1], 'pending', '1', 'entries', entries_with(record.entries, KEYS[2], entry), unpack(anew))
return entry
