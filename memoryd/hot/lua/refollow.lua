-- refollow: tell an event of a session what it follows now, and let it wait for a vector made in that context.
-- KEYS  1 record  2 journal  3 timeline
-- ARGV  1 id  2 what it follows says something else now ('1'|'0')  3 traceparent
-- Returns the journal entry's id, or false when the event is gone or follows what it followed before.
-- A vector is made in the context of what the event follows, and keeps a trace of it. `context` counts these changes, so
-- that a vector made in an earlier one, which comes late, is known and refused: here and in the archive. One that the
-- journal has still to bring there is taken out of it.
-- A light record says so in an entry of its own (`refollowed`): the embedding follower reads its content in the archive.
-- Atomic because the vector must not go without the journal entry that brings the new one.
local record = read_record(KEYS[1])
if not record.id then return false end
local now = follows(KEYS[3], ARGV[1])
if now == (record.follows or '') and (ARGV[2] == '0' or now == '') then return false end
record.follows, record.context = now, string.format('%d', tonumber(record.context or '0') + 1)
drop_vectors(KEYS[1], record)
local kept = {}
for id in string.gmatch(record.entries or '', '[^,]+') do
  local found = redis.call('XRANGE', KEYS[2], id, id)[1]
  if found and found[2][1] == 'op' and found[2][2] == 'embedded' then
    redis.call('XDEL', KEYS[2], id)
  else
    kept[#kept + 1] = id
  end
end
record.entries = table.concat(kept, ',')
local entry = record.content and journal_record(KEYS[2], 'updated', ARGV[3], record)
  or redis.call('XADD', KEYS[2], '*', 'op', 'refollowed', 'traceparent', ARGV[3], 'id', record.id, 'tenant', record.tenant,
    'project', record.project, 'memory_type', record.memory_type, 'version', record.version,
    'content_hash', record.content_hash, 'context', record.context, 'follows', record.follows,
    'speaker', record.speaker or '')
redis.call('HSET', KEYS[1], 'follows', record.follows, 'context', record.context, 'pending', '1',
  'entries', entries_with(record.entries, KEYS[2], entry), unpack(told_by(record)))
return entry
