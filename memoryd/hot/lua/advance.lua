-- advance: acknowledge entries, note how far their follower has come, and trim the journal below the slowest one.
-- KEYS  1 journal  2 place
-- ARGV  1 group  2 the run of the Redis that got the effects  3.. the entries that are done
-- Returns the id up to which this group has done everything, or false without a journal. Also false when Redis was
-- restarted since: it may have lost its last second, and with it what was done for the entries. They come again.
-- Atomic because the trim must not pass an entry that is delivered between the look and the cut, and because nobody
-- comes back for an entry that is acknowledged: its place would wait for the bucket's next one.
if redis.call('EXISTS', KEYS[1]) == 0 then return false end -- an emptied Redis: there is no journal to be in
if run_of_redis() ~= ARGV[2] then return false end
if ARGV[3] then redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, 3)) end
return note(KEYS[1], KEYS[2], ARGV[1])
