-- unembed: make a memory pending again, so that it gets the vector of another model.
-- KEYS  1 record  2 journal
-- ARGV  1 the model whose vectors stay  2 their length in bytes
-- Returns the journal entry's id, or false when the memory is gone or has that model's vector.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = redis.call('HMGET', KEYS[1], 'id', 'embedding_model')
local fits = record[2] == ARGV[1] and redis.call('HSTRLEN', KEYS[1], 'embedding') == tonumber(ARGV[2])
if not record[1] or fits then return false end
redis.call('HDEL', KEYS[1], 'embedding', 'embedding_model')
redis.call('HSET', KEYS[1], 'pending', '1')
return journal_record(KEYS[1], KEYS[2], 'updated', '')
