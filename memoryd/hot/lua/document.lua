-- document: write a document whole and count its version up.
-- KEYS  1 document  2 journal  3 tombstone  4 filter of the ids seen  5 idempotency
-- ARGV  1-6 place  7 body  8 the version it is based on ('' = any, '0' = there is none)
--       9 version that the archive holds ('' = not asked, '0' = none)  10 fingerprint  11 idempotency ttl
--       12 journal limit  13 traceparent  14 ttl of the document ('0' = permanent)
--       15 '1': remove the journal entries that carry what it was before
-- Returns {'written', id, version, entry, 'replayed' or ''}; {'absent', '1'|'0'} (not here; whether it ever was),
--       {'conflict', current version}, {'overloaded'}, {'reused'}.
-- Atomic because the version check, the document, its journal entry and the idempotency key stand or fall together.
local place, fingerprint, ttl = place_of(ARGV), ARGV[10], ARGV[11]
local first = answered(KEYS[5], fingerprint, ttl)
if first then return first end

local known = values_of(KEYS[1], 'version', 'entries')
if not known and ARGV[9] == '' then return { 'absent', tostring(redis.call('BF.EXISTS', KEYS[4], place.id)) } end
local current = known and whole(known.version) or '0'
if ARGV[8] ~= '' and ARGV[8] ~= current then return { 'conflict', current } end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[12]) then return { 'overloaded' } end

local floor = known and known.version or math.max(ended_version(KEYS[3]), tonumber(ARGV[9]))
local version = whole(floor + 1)
if ARGV[15] == '1' and known then
  forget_entries(KEYS[2], known.entries)
  known.entries = ''
end
local entry = journal_place(KEYS[2], 'document', ARGV[13], place, version, { 'body', ARGV[7] })
local entries = entries_with(known and known.entries, KEYS[2], entry)
redis.call('JSON.SET', KEYS[1], '$', with_bookkeeping(place, version, entries, ARGV[7]))
if ARGV[14] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[14]) end
if not known then seen(KEYS[4], place.id) end
return answer(KEYS[5], ttl, fingerprint, 'written', place.id, version, entry)
