-- episode: remember an event, and append it to its agent's log.
-- KEYS  1 record  2 journal  3 tombstone  4 idempotency  5 log  6 places of the journal's followers
--       7 events
-- ARGV  1 fingerprint  2 idempotency ttl  3 journal limit  4 events prefix  5 traceparent  6 entries that the log keeps
--       7 data that only the archive keeps ('' = none)  8.. the record's fields and values
-- Returns {'stored', id, version, entry}; {'overloaded'}, {'reused'}; a fifth element says 'replayed'. The journal entry's
--       id is also the event's position in the log: the journal's ids only grow, and tell what is archived.
-- Atomic because the record, its journal entry, its place in the log and the idempotency key stand or fall together, and
-- because the log must not lose what the archive has not.
local fields = {}
for i = 8, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end

local first = replay(KEYS[4], ARGV[1], ARGV[2])
if first then return first end
local known = redis.call('HMGET', KEYS[1], 'version', 'position')
local floor = tombstone_version(KEYS[3])
if known[1] or floor then
  -- A repeat whose first result is known no more, as in `store`.
  return finish(KEYS[4], ARGV[2], ARGV[1], 'stored', fields.id, known[1] or floor - 1, known[2] or '0-0', 'replayed')
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return { 'overloaded' } end

fields.version, fields.said_at, fields.position = '1', said_now(), '*' -- the journal entry's own id
if ARGV[7] ~= '' then fields.data = ARGV[7] end
local entry = journal_record(KEYS[2], 'stored', ARGV[5], fields)
local told, stamp = brief(fields)
local flat = { 'version', '1', 'said_at', fields.said_at, 'entries', entry, 'position', entry, 'brief', told, 'stamp', stamp }
for i = 8, #ARGV do flat[#flat + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(flat))
redis.call('XADD', KEYS[5], entry, 'id', fields.id)

-- A tenth more than the log keeps may gather, so that not every event pays for the look.
local kept = tonumber(ARGV[6])
local surplus = redis.call('XLEN', KEYS[5]) - kept
if surplus * 10 >= kept then
  local archived = redis.call('HGET', KEYS[6], 'archive') or '0-0'
  for _, row in ipairs(redis.call('XRANGE', KEYS[5], '-', '+', 'COUNT', surplus + 1)) do
    surplus = surplus - 1
    if surplus < 0 or behind(row[1], archived) then
      redis.call('XTRIM', KEYS[5], 'MINID', row[1])
      break
    end
  end
end
notify(KEYS[7], ARGV[4], 'stored', fields, '1', entry, ARGV[5])
return finish(KEYS[4], ARGV[2], ARGV[1], 'stored', fields.id, '1', entry)
