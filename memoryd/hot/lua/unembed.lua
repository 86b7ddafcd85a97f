-- unembed: make a memory pending again, so that it gets the vector of another model.
-- KEYS  1 record  2 journal
-- ARGV  1 the model whose vectors stay  2 their length in bytes  3.. fields and values that follow from the content anew
-- Returns the journal entry's id, or false when the memory is gone or has that model's vector.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = read_record(KEYS[1])
local fits = record.embedding_model == ARGV[1] and #(record.embedding or '') == tonumber(ARGV[2])
if not record.id then return false end
local changed = {}
for i = 3, #ARGV, 2 do
  if record[ARGV[i]] ~= ARGV[i + 1] then
    changed[#changed + 1] = ARGV[i]
    changed[#changed + 1] = ARGV[i + 1]
  end
end
if fits then
  if #changed > 0 then redis.call('HSET', KEYS[1], unpack(changed)) end
  return false
end
record.embedding, record.embedding_model = nil, nil
local entry = journal_record(KEYS[2], 'updated', '', record)
redis.call('HDEL', KEYS[1], 'embedding', 'embedding_model')
redis.call('HSET', KEYS[1], 'pending', '1', 'entries', entries_with(record.entries, KEYS[2], entry), unpack(changed))
return entry
