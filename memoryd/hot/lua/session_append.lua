-- session_append: add messages to the end of a session; what it costs does not depend on how long the session is.
-- KEYS  1 session  2 journal  3 idempotency
-- ARGV  1-6 place  7 now  8 most messages  9 most bytes  10 fingerprint  11 idempotency ttl  12 journal limit
--       13 traceparent  14.. the messages as JSON texts
-- Returns {'appended', id, version, entry, 'replayed' or '', 'first number:messages held:bytes held'};
--       {'absent'}, {'closed'}, {'full'}, {'overloaded'}, {'reused'}.
-- Atomic because the messages, their order, their journal entry and the idempotency key stand or fall together.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local first = answered(KEYS[3], ARGV[10], ARGV[11])
if first then return first end
local session = session_of(key)
if not session then return { 'absent' } end
if session.status ~= 'open' then return { 'closed' } end
if session.message_count >= tonumber(ARGV[8]) or session.bytes >= tonumber(ARGV[9]) then return { 'full' } end
if redis.call('XLEN', journal) >= tonumber(ARGV[12]) then return { 'overloaded' } end

local count, bytes, version = #ARGV - 13, session.bytes, whole(session.version + 1)
local parts = place_of(ARGV)
parts.collection = 'messages'
local entry = journal_place(journal, 'parts', ARGV[13], parts, version,
  { 'first', whole(session.next), 'body', '[' .. table.concat(ARGV, ',', 14) .. ']' })
for i = 14, #ARGV do
  redis.call('JSON.SET', key, message_path(session.next + i - 14),
    string.format('{"entry":"%s","bytes":%d,"message":', entry, #ARGV[i]) .. ARGV[i] .. '}')
  bytes = bytes + #ARGV[i]
end
local held_now = session.message_count + count
redis.call('JSON.MERGE', key, '$', string.format(
  '{"version":%s,"head":{"updated_at":%s,"next":%s,"message_count":%s,"bytes":%s}}',
  version, ARGV[7], whole(session.next + count), whole(held_now), whole(bytes)))
redis.call('EXPIRE', key, whole(session.ttl_seconds))
return answer(KEYS[3], ARGV[11], ARGV[10], 'appended', place.id, version, entry,
  whole(session.next) .. ':' .. whole(held_now) .. ':' .. whole(bytes))
