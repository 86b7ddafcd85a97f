-- scratch_delete: remove values from a pad, or the whole pad.
-- ARGV  7.. names (none: all)
-- Returns {'done', how many}, {'reused'}.
-- Atomic because the request's answer belongs to the step.
local first = told(KEYS[2], ARGV[1], ARGV[2])
if first then return first end
local removed = 0
if not ARGV[7] then
  removed = redis.call('JSON.OBJLEN', KEYS[1]) or 0
  redis.call('DEL', KEYS[1])
end
for i = 7, #ARGV do removed = removed + redis.call('JSON.DEL', KEYS[1], path(ARGV[i])) end
return done(tostring(removed))
