-- scratch_push: put values at the end of a list; one that is not there is empty.
-- ARGV  7 name  8 values as one JSON list
-- Returns {'done', length}, {'type'} (no list), {'full'}, {'reused'}.
-- Atomic because of the limit, and because the request's answer belongs to the step.
local first = told(KEYS[2], ARGV[1], ARGV[2])
if first then return first end
local known = text_of(ARGV[7]) or '[]'
if string.sub(known, 1, 1) ~= '[' then return { 'type' } end
local text = known == '[]' and ARGV[8] or string.sub(known, 1, -2) .. ',' .. string.sub(ARGV[8], 2)
local refused = write({ [ARGV[7]] = text })
if refused then return { refused } end
return done(tostring(redis.call('JSON.ARRLEN', KEYS[1], path(ARGV[7]))[1]))
