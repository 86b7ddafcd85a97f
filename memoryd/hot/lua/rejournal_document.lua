-- rejournal_document: write a document (or its tombstone) into the journal again, as it is, so that the archive gets it.
-- KEYS  1 document  2 journal  3 tombstone
-- ARGV  1-6 place  7 traceparent
-- Returns the number of entries written. The archiver ignores what it holds already.
-- Atomic because the entry must be the document of one moment.
local place = place_of(ARGV)
local known = values_of(KEYS[1], 'version', 'entries')
if known then
  local entry = journal_place(KEYS[2], 'document', ARGV[7], place, whole(known.version),
    { 'body', redis.call('JSON.GET', KEYS[1]) })
  redis.call('JSON.SET', KEYS[1], '$.entries', '"' .. entries_with(known.entries, KEYS[2], entry) .. '"')
  return 1
end
local stone = redis.call('GET', KEYS[3])
if not stone then return 0 end
stone = cjson.decode(stone)
journal_place(KEYS[2], 'ended', ARGV[7], place, stone.version, { 'ended_at', stone.ended_at })
return 1
