-- kept_events: what a bucket keeps of a project's events behind the last one that somebody has seen.
-- KEYS  1 events
-- ARGV  1 the last one seen ('' = none)  2 how many at most
-- Returns now in milliseconds, the last id ('' = none are kept), whether some are lost ('1'|'0'), and the entries.
-- Nothing is lost while the event that was seen is itself still kept, or may have gone by its age alone: then it was the
-- last one for as long as events live, and whatever came later must be here from its first one on.
-- Atomic because a trim between the look at the last one seen and the read would cut off events unnoticed.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local seen = ARGV[1]
local aged = seen == '' or now - tonumber(string.match(seen, '^%d+')) >= EVENTS_TTL_SECONDS * 1000
if redis.call('EXISTS', KEYS[1]) == 0 then
  return { string.format('%.0f', now), '', aged and '0' or '1' }
end

local flat, stream = redis.call('XINFO', 'STREAM', KEYS[1]), {}
for i = 1, #flat, 2 do stream[flat[i]] = flat[i + 1] end
local kept = seen ~= '' and #redis.call('XRANGE', KEYS[1], seen, seen) == 1
local whole = stream['entries-added'] == stream['length']
local answer = { string.format('%.0f', now), stream['last-generated-id'], (kept or (aged and whole)) and '0' or '1' }
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], seen == '' and '-' or '(' .. seen, '+', 'COUNT', ARGV[2])) do
  answer[#answer + 1] = entry
end
return answer
