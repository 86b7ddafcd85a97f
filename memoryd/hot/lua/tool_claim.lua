-- tool_claim: what is kept of a tool's result for this input, or the right to compute it.
-- KEYS  1 cache  2 due  3 question (of one in words only)
-- ARGV  1 entry  2 token  3 lease in milliseconds  4 tool  5 tags as a JSON list  6 session tag  7 entries limit
--       8 bytes limit  9.. fields and values of the question
-- Returns {'hit', age, result} | {'failed', age, error} | {'compute', lease, names of entries whose questions go} |
--       {'wait', how long it has been computed} | {'bypass', 0, the same names} (nothing of it is kept: too large, or no
--       room). Ages and times in milliseconds.
-- Atomic because of two callers who both find nothing, both would compute.
local cache, due, name = KEYS[1], KEYS[2], ARGV[1]
local now = milliseconds()
drop_due(cache, due, now)
local note = note_of(cache, name)
if note and now >= tonumber(redis.call('ZSCORE', due, name)) then
  drop(cache, due, name)
  note = nil
end
if note and note.state ~= 'claimed' then
  if note.state == 'bypass' then return { 'bypass' } end
  count(cache, note.state == 'hit' and 'hits' or 'failures')
  return { note.state, now - note.at, redis.call('HGET', cache, name .. ':result') }
end
if note and note.token ~= ARGV[2] then
  count(cache, 'waits')
  return { 'wait', now - note.at }
end
if not note then
  if not make_room(cache, due, tonumber(ARGV[7]), tonumber(ARGV[8]), 0) then return { 'bypass', 0, dropped } end
  note = { state = 'claimed', token = ARGV[2], at = now, tool = ARGV[4], tags = cjson.decode(ARGV[5]), session = ARGV[6],
    asked = KEYS[3] and true or nil }
  put(cache, due, name, note, now + ARGV[3])
  count(cache, 'misses')
  if KEYS[3] then
    redis.call('HSET', KEYS[3], unpack(ARGV, 9))
    redis.call('PEXPIREAT', KEYS[3], now + ARGV[3])
  end
end
local gone = {}
for _, one in ipairs(dropped) do
  if one ~= name or not KEYS[3] then gone[#gone + 1] = one end -- its own question is asked anew
end
return { 'compute', tonumber(ARGV[3]), gone }
