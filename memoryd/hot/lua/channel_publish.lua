-- channel_publish: append a message to a project's channel, and hint at it.
-- KEYS  1 channel  2 answers
-- ARGV  1 request  2 fingerprint  3 how long its answer is known, in milliseconds  4 messages that the channel keeps
--       5 ttl of the channel in seconds  6 where to hint  7 agent tag  8 session tag  9 data as JSON  10 traceparent
-- Returns {'done', position, number}, {'reused'}.
-- Atomic because a repeat must not be a second message, and numbers must be as the order.
local first = told(KEYS[2], ARGV[1], ARGV[2])
if first then return first end
local number = 1
if redis.call('EXISTS', KEYS[1]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'entries-added' then number = info[i + 1] + 1 end
  end
end
number = string.format('%d', number)
local fields = { 'number', number, 'agent', ARGV[7], 'session', ARGV[8], 'data', ARGV[9] }
if ARGV[10] ~= '' then
  fields[9], fields[10] = 'traceparent', ARGV[10]
end
local position = redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[4], '*', unpack(fields))
redis.call('EXPIRE', KEYS[1], ARGV[5])
redis.call('PUBLISH', ARGV[6], position)
return tell(KEYS[2], ARGV[1], ARGV[2], ARGV[3], { 'done', position, number })
