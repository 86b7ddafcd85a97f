-- end_document: remove a document with every journal entry that carries its text, and leave a tombstone.
-- KEYS  1 document  2 journal  3 tombstone  4 idempotency  5.. keys that go with it
-- ARGV  1-6 place  7 now  8 version that the archive holds ('0' = none)  9 fingerprint  10 idempotency ttl
--       11 tombstone ttl  12 traceparent
-- Returns {'ended', id, version, entry, 'replayed' or ''}; {'missing'}; {'reused'}.
-- Atomic because a writer between the removal and the tombstone could bring the document back.
local place = place_of(ARGV)
local first = answered(KEYS[4], ARGV[9], ARGV[10])
if first then return first end
local known = values_of(KEYS[1], 'version', 'entries')
local floor = math.max(known and known.version or 0, tonumber(ARGV[8]))
if floor == 0 then return { 'missing' } end

forget_entries(KEYS[2], known and known.entries)
redis.call('DEL', KEYS[1])
for i = 5, #KEYS do redis.call('DEL', KEYS[i]) end
local version = whole(math.max(floor, ended_version(KEYS[3])) + 1)
redis.call('SET', KEYS[3], cjson.encode({ id = place.id, collection = place.collection, version = version, ended_at = ARGV[7] }),
  'EX', ARGV[11])
local entry = journal_place(KEYS[2], 'ended', ARGV[12], place, version, { 'ended_at', ARGV[7] })
return answer(KEYS[4], ARGV[10], ARGV[9], 'ended', place.id, version, entry)
