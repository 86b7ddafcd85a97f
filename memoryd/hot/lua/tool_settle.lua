-- tool_settle: end a computation: keep its result or its failure for a while, or let the next caller compute.
-- KEYS  1 cache  2 due  3 question
-- ARGV  1 entry  2 token  3 state: hit, failed, bypass, or '' to keep nothing  4 ttl in milliseconds  5 result or error
--       6 entries limit  7 bytes limit
-- Returns {the state that it has now, names of entries whose questions go}; {'late'} when the claim is not the caller's any
--       more (its lease ended, or the entry was invalidated): nothing was changed then.
-- Atomic because a claim that ends between the look and the write belongs to somebody else.
local cache, due, name, state = KEYS[1], KEYS[2], ARGV[1], ARGV[3]
local now = milliseconds()
local note = note_of(cache, name)
if not note or note.token ~= ARGV[2] or now >= tonumber(redis.call('ZSCORE', due, name)) then return { 'late' } end
if note.state ~= 'claimed' then return { note.state } end -- a repeat
drop(cache, due, name)
drop_due(cache, due, now)
if state == '' then return { 'released', dropped } end
if not make_room(cache, due, tonumber(ARGV[6]), tonumber(ARGV[7]), #ARGV[5]) then return { 'bypass', dropped } end
if state == 'hit' and note.asked then -- its question stays as long as it does
  redis.call('PEXPIREAT', KEYS[3], now + ARGV[4])
  table.remove(dropped, 1)
else
  note.asked = nil
end
note.state, note.at, note.bytes = state, now, #ARGV[5]
put(cache, due, name, note, now + ARGV[4])
if #ARGV[5] > 0 then redis.call('HSET', cache, name .. ':result', ARGV[5]) end
return { state, dropped }
