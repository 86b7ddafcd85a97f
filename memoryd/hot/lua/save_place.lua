-- save_place: keep the follower's resume token, if the one who saves still holds the lease.
-- KEYS  1 place  2 lease
-- ARGV  1 holder (name:fence)  2 resume token  3 now  4 the run of the Redis that got the effects
--       5 the collection that was just compared whole ('' = none was)
-- Returns 1, or 0 when the lease is another's: a follower that slept through its lease must not move the place back.
-- Also 0 when Redis was restarted since: it may have lost its last second, and with it effects that this place is behind.
-- Atomic because the lease may pass on between the look and the write.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
if run_of_redis() ~= ARGV[4] then return 0 end
redis.call('HSET', KEYS[1], 'token', ARGV[2], 'saved_at', ARGV[3])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'collection', ARGV[5], 'compared_at', ARGV[3]) end
return 1
