-- use: note in a memory's record how often it was read since the last time, and tell the archive. No version, no event.
-- KEYS  1 record  2 journal  3 the uses of its bucket (a hash: a record's key → how often it was read)
-- ARGV  1 now  2 journal limit  3 traceparent
-- Returns used | nothing (it was not read, or is gone) | full (the journal: come again).
-- Atomic because what is taken from the uses must be in the record's count: neither lost nor counted twice.
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[2]) then return 'full' end
local times = redis.call('HGET', KEYS[3], KEYS[1])
redis.call('HDEL', KEYS[3], KEYS[1])
local known = redis.call('HMGET', KEYS[1], 'id', 'access_count', 'tenant', 'project', 'memory_type', 'version')
if not times or not known[1] then return 'nothing' end
local count = string.format('%d', tonumber(known[2]) + tonumber(times))
redis.call('HSET', KEYS[1], 'access_count', count, 'last_accessed', ARGV[1], 'used', '1')
redis.call('XADD', KEYS[2], '*', 'op', 'touched', 'traceparent', ARGV[3], 'id', known[1], 'tenant', known[3], 'project', known[4],
  'memory_type', known[5], 'version', known[6], 'access_count', count, 'last_accessed', ARGV[1])
return 'used'
