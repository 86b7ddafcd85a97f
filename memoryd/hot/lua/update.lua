-- update: change fields of a memory and count its version up.
-- KEYS  1 record  2 journal  3 idempotency
-- ARGV  1 agent tag ('' = any)  2 session tag ('' = any)  3 the version it is based on ('' = any)  4 fingerprint
--       5 idempotency ttl  6 journal limit  7 events prefix  8 traceparent  9 field to remove ('' = none)
--       10.. fields and values
-- Returns {'updated', id, version, entry}; {'missing'}, {'conflict', current version}, {'overloaded'}, {'reused'}.
-- Atomic because the version check and the change must see the same record.
local first = replay(KEYS[3], ARGV[4])
if first then return first end
local record = read_record(KEYS[1])
if not record.id or not inside(record, ARGV[1], ARGV[2]) then return { 'missing' } end
if ARGV[3] ~= '' and ARGV[3] ~= record.version then return { 'conflict', record.version } end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'overloaded' } end

local replaced
local changes = { 'version', string.format('%d', tonumber(record.version) + 1) }
for i = 10, #ARGV, 2 do
  changes[#changes + 1] = ARGV[i]
  changes[#changes + 1] = ARGV[i + 1]
  if ARGV[i] == 'content_hash' and ARGV[i + 1] ~= record.content_hash then
    replaced = record.content_hash
    -- The old vector says nothing about the new words.
    redis.call('HDEL', KEYS[1], 'embedding', 'embedding_model')
    changes[#changes + 1] = 'pending'
    changes[#changes + 1] = '1'
  end
end
if ARGV[9] ~= '' then redis.call('HDEL', KEYS[1], ARGV[9]) end
redis.call('HSET', KEYS[1], unpack(changes))
local entry = journal_record(KEYS[1], KEYS[2], 'updated', ARGV[8], replaced)
notify(ARGV[7], 'updated', record, changes[2], entry)
return finish(KEYS[3], ARGV[5], ARGV[4], 'updated', record.id, changes[2], entry)
