-- raise_version: give a local write that lost against the archive a version above it, so that it is archived after all.
-- KEYS  1 record  2 journal
-- ARGV  1 the version that lost  2 the version that the archive holds  3 traceparent
-- Returns the new journal entry's id, or false when the record has moved on, is gone, or is light: then the archive had it.
-- Atomic because an update or a forget in between has decided the matter itself.
local record = read_record(KEYS[1])
if record.version ~= ARGV[1] or not record.content then return false end
record.version = string.format('%d', tonumber(ARGV[2]) + 1)
local entry = journal_record(KEYS[2], 'updated', ARGV[3], record)
redis.call('HSET', KEYS[1], 'version', record.version, 'entries', entries_with(record.entries, KEYS[2], entry))
return entry
