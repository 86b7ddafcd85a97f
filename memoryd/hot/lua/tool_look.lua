-- tool_look: what is kept of a tool's result, or who computes it; nothing is claimed.
-- KEYS  1 cache  2 due
-- ARGV  1 entry  2 token  3 '1': only a result or a computation, because it is another question's
-- Returns {'hit', age, result} | {'failed', age, error} | {'wait', how long it has been computed} | {'none'}, in milliseconds.
-- Atomic because what is looked at may go between the note and the result.
local cache, name, now = KEYS[1], ARGV[1], milliseconds()
local note = note_of(cache, name)
if not note or now >= tonumber(redis.call('ZSCORE', KEYS[2], name)) then return { 'none' } end
if note.state == 'claimed' then
  if note.token == ARGV[2] then return { 'none' } end
  count(cache, 'waits')
  return { 'wait', now - note.at }
end
if note.state == 'bypass' or (note.state == 'failed' and ARGV[3] == '1') then return { 'none' } end
count(cache, note.state == 'hit' and 'hits' or 'failures')
if ARGV[3] == '1' then count(cache, 'similar') end
return { note.state, now - note.at, redis.call('HGET', cache, name .. ':result') }
