-- take_over: give a consumer what was delivered long ago and never acknowledged.
-- KEYS  1 journal  2 place
-- ARGV  1 group  2 consumer  3 how long ago at least, in milliseconds  4 how many at most  5 the removed entries that this
--       consumer was told of last ('' = none)  6 note the group's place in any case ('1'|'0')
-- Returns the run of this Redis, the entries that were removed while a consumer had them, the oldest and the one that came last
-- ('oldest,last', '' = none), and the entries.
-- Redis tells of a removed entry once, and no longer counts it as pending then: nobody will acknowledge it, so the place moves on
-- here. It is told again until somebody says that he has heard it: an answer may be lost on its way.
-- Atomic because the place must not stay behind what is no longer pending.
local told = 'removed:' .. ARGV[1]
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], '0-0', 'COUNT', ARGV[4])
local removed = redis.call('HGET', KEYS[2], told) or ''
if removed ~= '' and removed == ARGV[5] then
  redis.call('HDEL', KEYS[2], told)
  removed = ''
end
local fresh, last = claimed[3][1], claimed[3][#claimed[3]]
if fresh then
  local oldest = string.match(removed, '^[^,]+') or fresh
  removed = (before(fresh, oldest) and fresh or oldest) .. ',' .. last
  redis.call('HSET', KEYS[2], told, removed)
end
if fresh or ARGV[6] == '1' then note(KEYS[1], KEYS[2], ARGV[1]) end
return { run_of_redis(), removed, claimed[2] }
