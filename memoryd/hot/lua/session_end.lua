-- session_end: forget a session: its document, every journal entry that carries its text, and all its parts in the archive.
-- KEYS  1 session  2 journal  3 tombstone  4 idempotency
-- ARGV  1-6 place  7 now  8 version that the archive holds ('0' = none)  9 next number that the archive knows
--       10 fingerprint  11 idempotency ttl  12 tombstone ttl  13 traceparent
-- Returns {'ended', id, version, entry, 'replayed' or '', messages that it held here}; {'missing'}; {'reused'}.
-- Atomic because a writer between the removal and the tombstone could bring it back.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local first = answered(KEYS[4], ARGV[10], ARGV[11])
if first then return first end
local session = session_of(key)
local floor = math.max(session and session.version or 0, tonumber(ARGV[8]))
if floor == 0 then return { 'missing' } end

local next, count = tonumber(ARGV[9]), 0
if session then
  next, count = math.max(next, session.next), session.message_count
  forget_entries(journal, session.entries)
  for _, path in ipairs({ '$.messages.*.entry', '$.checkpoints.*.entry', '$.left[*]' }) do
    local gone = {}
    for _, entry in ipairs(cjson.decode(redis.call('JSON.GET', key, path))) do
      if entry ~= '' then gone[entry] = true end
    end
    for entry in pairs(gone) do redis.call('XDEL', journal, entry) end
  end
end
redis.call('DEL', key)
local version = whole(math.max(floor, ended_version(KEYS[3])) + 1)
redis.call('SET', KEYS[3], cjson.encode({ id = place.id, collection = place.collection, version = version,
  ended_at = ARGV[7], next = whole(next) }), 'EX', ARGV[12])
local entry = journal_place(journal, 'ended', ARGV[13], place, version, { 'ended_at', ARGV[7] })
return answer(KEYS[4], ARGV[11], ARGV[10], 'ended', place.id, version, entry, whole(count))
