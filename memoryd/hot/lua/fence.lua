-- fence: shut out every follower that held the lease before.
-- KEYS  1 fence
-- ARGV  1 the new holder's number
-- Returns the number that stands.
-- Atomic because two new holders must not lower each other's number.
local stands = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) <= stands then return stands end
redis.call('SET', KEYS[1], ARGV[1])
return tonumber(ARGV[1])
