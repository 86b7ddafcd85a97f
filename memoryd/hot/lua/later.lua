-- later: the events after one in its session.
-- KEYS  1 timeline
-- ARGV  1 id  2 how many at most
-- Returns their ids, nearest first, with commas. Atomic because one that comes in between moves the others.
return followed_by(KEYS[1], ARGV[1], tonumber(ARGV[2]))
