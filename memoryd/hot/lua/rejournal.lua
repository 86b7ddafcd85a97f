-- rejournal: write a memory (or its tombstone) into the journal again, as it is, so that the archive gets it once more.
-- KEYS  1 record  2 journal  3 tombstone
-- ARGV  1 traceparent
-- Of a light record only the vector and the feedback can be written.
-- Returns the number of entries written. The archiver ignores what it holds already.
-- Atomic because the entry must be the record of one moment.
local record = read_record(KEYS[1])
if record.id then
  local count, entries = 0, record.entries or ''
  if record.content then
    count, entries = 1, entries_with(entries, KEYS[2], journal_record(KEYS[2], 'updated', ARGV[1], record, nil, nil, '0'))
  elseif record.feedback then
    redis.call('XADD', KEYS[2], '*', 'op', 'judged', 'traceparent', ARGV[1], 'id', record.id, 'tenant', record.tenant,
      'project', record.project, 'memory_type', record.memory_type, 'version', record.version, 'feedback', record.feedback)
    count = 1
  end
  local slot = vector_in(record, '') and '' or '2'
  local vector, name = vector_in(record, slot)
  if vector then
    local entry = journal_vector(KEYS[2], ARGV[1], record, record['embedding_model' .. slot], name, vector)
    count, entries = count + 1, entries_with(entries, KEYS[2], entry)
  end
  redis.call('HSET', KEYS[1], 'entries', entries)
  return count
end
local tombstone = redis.call('GET', KEYS[3])
if not tombstone then return 0 end
local stone = cjson.decode(tombstone)
redis.call('XADD', KEYS[2], '*', 'op', 'forgotten', 'traceparent', ARGV[1], 'id', stone.id,
  'tenant', stone.tenant, 'project', stone.project, 'agent_id', stone.agent_id or '',
  'session_id', stone.session_id or '', 'memory_type', stone.memory_type,
  'version', string.format('%d', stone.version), 'forgotten_at', stone.forgotten_at,
  'said_at', stone.said_at or '', 'content_hash', '')
return 1
