-- lease: take, renew or give back the right to be the one active follower.
-- KEYS  1 lease  2 fence
-- ARGV  1 holder's name  2 held fence ('' = not held)  3 ttl in milliseconds ('0' = give back)
--       4 only renew ('1'), or take a free one too ('0'): who has followed under a lease must learn that it is gone
-- Returns the fence number while the lease is held, false otherwise. A new holder gets a higher fence than any before.
-- Atomic because two holders must never read the same free lease.
local holder = redis.call('GET', KEYS[1])
local mine = ARGV[2] ~= '' and holder == ARGV[1] .. ':' .. ARGV[2]
if ARGV[3] == '0' then
  if mine then redis.call('DEL', KEYS[1]) end
  return false
end
if mine then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return tonumber(ARGV[2])
end
if holder or ARGV[4] == '1' then return false end
local fence = redis.call('INCR', KEYS[2])
redis.call('SET', KEYS[1], ARGV[1] .. ':' .. string.format('%d', fence), 'PX', ARGV[3])
return fence
