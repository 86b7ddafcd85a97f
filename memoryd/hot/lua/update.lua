-- update: change fields of a memory and count its version up.
-- KEYS  1 record  2 journal  3 idempotency  4 events  5 timeline (of an event in a session only)
-- ARGV  1 agent tag ('' = any)  2 session tag ('' = any)  3 the version it is based on ('' = any)  4 fingerprint
--       5 idempotency ttl  6 journal limit  7 events prefix  8 traceparent  9 fields to remove, with commas
--       10.. fields and values
-- Returns {'updated', id, version, entry}; {'missing'}, {'conflict', current version}, {'overloaded'}, {'reused'};
--       {'light'} (its content has to be brought back first).
-- Atomic because the version check and the change must see the same record.
local first = replay(KEYS[3], ARGV[4], ARGV[5])
if first then return first end
local record = read_record(KEYS[1])
if not record.id or not inside(record, ARGV[1], ARGV[2]) then return { 'missing' } end
if not record.content then return { 'light' } end
if ARGV[3] ~= '' and ARGV[3] ~= record.version then return { 'conflict', record.version } end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'overloaded' } end

local version = string.format('%d', tonumber(record.version) + 1)
local changes, replaced = { version = version, said_at = said_now() }, nil
for i = 10, #ARGV, 2 do changes[ARGV[i]] = ARGV[i + 1] end
if changes.content_hash and changes.content_hash ~= record.content_hash then
  -- Neither the old vector nor what was said of the old words says anything about the new ones.
  drop_vectors(KEYS[1], record)
  redis.call('HDEL', KEYS[1], 'feedback')
  record.feedback = nil
  changes.pending = '1'
  replaced = record.content_hash
end
for gone in string.gmatch(ARGV[9], '[^,]+') do
  redis.call('HDEL', KEYS[1], gone)
  record[gone] = nil
end
for name, value in pairs(changes) do record[name] = value end
local touched = KEYS[5] and replaced and precedes(KEYS[5], record.id) or ''
if KEYS[5] and changes.valid_from then
  touched = precedes(KEYS[5], record.id)
  redis.call('ZADD', KEYS[5], changes.valid_from, record.id)
  touched = table.concat({ touched, precedes(KEYS[5], record.id), record.id }, ',')
end
local entry = journal_record(KEYS[2], 'updated', ARGV[8], record, replaced, touched)
changes.entries = entries_with(record.entries, KEYS[2], entry)
changes.brief, changes.stamp = brief(record)
local flat = {}
for name, value in pairs(changes) do
  flat[#flat + 1] = name
  flat[#flat + 1] = value
end
redis.call('HSET', KEYS[1], unpack(flat))
unpark(KEYS[1])
notify(KEYS[4], ARGV[7], 'updated', record, version, entry, ARGV[8])
return finish(KEYS[3], ARGV[5], ARGV[4], 'updated', record.id, version, entry)
