-- session_checkpoint: capture a session as it is. Its messages are named by their numbers, so it costs as much as its state.
-- KEYS  1 session  2 journal  3 idempotency
-- ARGV  1-6 place  7 now  8 label as a JSON string  9 checkpoints to keep  10 fingerprint  11 idempotency ttl
--       12 journal limit  13 traceparent
-- Returns {'captured', id, version, entry, 'replayed' or '', its number}; {'absent'}, {'overloaded'}, {'reused'}.
-- Atomic because it must be the session of one moment.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local first = answered(KEYS[3], ARGV[10], ARGV[11])
if first then return first end
local session = session_of(key)
if not session then return { 'absent' } end
if redis.call('XLEN', journal) >= tonumber(ARGV[12]) then return { 'overloaded' } end

local version = whole(session.version + 1)
local entry = add_checkpoint(key, journal, ARGV[13], place, session, version, captured(key, session, ARGV[8], ARGV[7]),
  tonumber(ARGV[9]))
redis.call('JSON.MERGE', key, '$', '{"version":' .. version .. '}')
redis.call('EXPIRE', key, whole(session.ttl_seconds))
return answer(KEYS[3], ARGV[11], ARGV[10], 'captured', place.id, version, entry, whole(session.next_checkpoint))
