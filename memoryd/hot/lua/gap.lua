-- gap: note that a question found nothing. The gap that is longest past goes when there are too many.
-- KEYS  1 gaps
-- ARGV  1 digest of the question  2 question and session as JSON  3 now  4 gaps to keep  5 ttl
-- Returns how often it has found nothing.
-- Atomic because two who ask the same at once are two.
local known = redis.call('HGET', KEYS[1], ARGV[1])
local gap = cjson.decode(known or ARGV[2])
gap.times, gap.first_at, gap.last_at = (gap.times or 0) + 1, gap.first_at or ARGV[3], ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(gap))
redis.call('EXPIRE', KEYS[1], ARGV[5])
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[4]) then
  local oldest, last_at
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do
    local at = tonumber(cjson.decode(all[i + 1]).last_at)
    if not last_at or at < last_at then oldest, last_at = all[i], at end
  end
  redis.call('HDEL', KEYS[1], oldest)
end
return gap.times
