-- attach: give a pending memory its vector, if its content is still the one that was embedded.
-- KEYS  1 record  2 journal  3 events
-- ARGV  1 content hash  2 model  3 vector  4 events prefix  5 traceparent  6 the context that the vector was made in
--       7 the slot of the record that the vector is for
-- Returns the journal entry's id, or false when the memory is gone, changed, follows others, or has its vector already.
-- Atomic because an update between the check and the write would get the vector of its old words.
local record = redis.call('HMGET', KEYS[1], 'pending', 'id', 'version', 'agent_id', 'memory_type',
  'session_id', 'tenant', 'project', 'entries', 'context', 'follows', 'content_hash', 'hash')
local context = record[10] or '0'
if (record[12] or record[13]) ~= ARGV[1] or record[1] ~= '1' or context ~= ARGV[6] then return false end
local entry = redis.call('XADD', KEYS[2], '*', 'op', 'embedded', 'traceparent', ARGV[5], 'id', record[2],
  'tenant', record[7], 'project', record[8], 'memory_type', record[5], 'version', record[3], 'content_hash', ARGV[1], 'embedding_model', ARGV[2], 'embedding', ARGV[3],
  'context', context, 'follows', record[11] or '')
redis.call('HSET', KEYS[1], 'embedding' .. ARGV[7], ARGV[3], 'embedding_model' .. ARGV[7], ARGV[2], 'pending', '0',
  'entries', entries_with(record[9], KEYS[2], entry))
notify(KEYS[3], ARGV[4], 'embedded',
  { id = record[2], agent_id = record[4], memory_type = record[5], session_id = record[6] }, record[3], entry, ARGV[5])
return entry
