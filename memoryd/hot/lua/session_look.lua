-- session_look: read parts of a session, which refreshes its life.
-- KEYS  1 session
-- ARGV  paths
-- Returns what JSON.GET answers to the paths, or false without a session.
-- Atomic because a session that ends between the look and the refresh would be read half.
local ttl = text_of(KEYS[1], '$.head.ttl_seconds')
if not ttl then return false end
redis.call('EXPIRE', KEYS[1], ttl)
return redis.call('JSON.GET', KEYS[1], unpack(ARGV))
