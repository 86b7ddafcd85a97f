-- share: let another agent of the project see a memory, or let it see it no more. One memory, one more version.
-- KEYS  1 record  2 journal  3 idempotency  4 events
-- ARGV  1 agent tag ('' = any)  2 session tag ('' = any)  3 fingerprint  4 idempotency ttl  5 journal limit
--       6 events prefix  7 traceparent  8 now  9 the other agent's tag ('' = all that see it)  10 'share' | 'unshare'
--       11 how many agents at most
-- Returns {'updated' | 'unchanged', id, version, entry}; {'missing'}, {'full'}, {'overloaded'}, {'reused'};
--       {'light'} (its content has to be brought back first).
-- Atomic because of two that share at once neither may undo the other.
local first = replay(KEYS[3], ARGV[3], ARGV[4])
if first then return first end
local record = read_record(KEYS[1])
if not record.id or not inside(record, ARGV[1], ARGV[2]) then return { 'missing' } end

local with, known = {}, false
for agent in string.gmatch(record.shared_with or '', '[^,]+') do
  local named = ARGV[9] == '' or agent == ARGV[9]
  known = known or named
  if ARGV[10] == 'share' or not named then with[#with + 1] = agent end
end
if known == (ARGV[10] == 'share') then
  local entry = string.match(record.entries or '', '[^,]+$') or '0-0'
  return finish(KEYS[3], ARGV[4], ARGV[3], 'unchanged', record.id, record.version, entry)
end
if ARGV[10] == 'share' then
  if #with >= tonumber(ARGV[11]) then return { 'full' } end
  with[#with + 1] = ARGV[9]
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[5]) then return { 'overloaded' } end
if not record.content then return { 'light' } end

record.version = string.format('%d', tonumber(record.version) + 1)
record.recorded_at, record.said_at = ARGV[8], said_now()
if record.tier == 'archive' or record.tier == 'long' then record.tier = 'short' end -- what is shared is in use
record.shared_with = #with > 0 and table.concat(with, ',') or nil
local entry = journal_record(KEYS[2], 'updated', ARGV[7], record)
if not record.shared_with then redis.call('HDEL', KEYS[1], 'shared_with') end
local flat = { 'version', record.version, 'recorded_at', record.recorded_at, 'said_at', record.said_at,
  'tier', record.tier, 'entries', entries_with(record.entries, KEYS[2], entry) }
if record.shared_with then
  flat[#flat + 1] = 'shared_with'
  flat[#flat + 1] = record.shared_with
end
redis.call('HSET', KEYS[1], unpack(flat))
unpark(KEYS[1])
notify(KEYS[4], ARGV[6], 'updated', record, record.version, entry, ARGV[7])
return finish(KEYS[3], ARGV[4], ARGV[3], 'updated', record.id, record.version, entry)
