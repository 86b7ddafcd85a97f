-- fill: give a memory the vector of a model that is not read yet, beside the one that is.
-- KEYS  1 record
-- ARGV  1 content hash  2 the context that the vector was made in  3 slot  4 model  5 vector
-- Returns 1, or false when the memory is gone, has other words, or follows others by now.
-- Atomic because an update between the check and the write would get the vector of its old words. Nothing is journaled: the
-- archive gets it when it is read (`settle`).
local record = redis.call('HMGET', KEYS[1], 'content_hash', 'hash', 'context')
if (record[1] or record[2]) ~= ARGV[1] or (record[3] or '0') ~= ARGV[2] then return false end
redis.call('HSET', KEYS[1], 'embedding' .. ARGV[3], ARGV[5], 'embedding_model' .. ARGV[3], ARGV[4])
redis.call('HDEL', KEYS[1], 'half' .. ARGV[3], 'parked' .. ARGV[3])
return 1
