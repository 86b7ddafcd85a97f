-- rejournal: write a memory (or its tombstone) into the journal again, as it is, so that the archive gets it once more.
-- KEYS  1 record  2 journal  3 tombstone
-- ARGV  1 traceparent
-- Returns the number of entries written. The archiver ignores what it holds already.
-- Atomic because the entry must be the record of one moment.
local record = redis.call('HMGET', KEYS[1], 'id', 'version', 'content_hash', 'embedding_model', 'tenant', 'project', 'memory_type')
if record[1] then
  journal_record(KEYS[1], KEYS[2], 'updated', ARGV[1])
  local vector = redis.call('HGET', KEYS[1], 'embedding')
  if not vector then return 1 end
  local entry = redis.call('XADD', KEYS[2], '*', 'op', 'embedded', 'traceparent', ARGV[1], 'id', record[1],
    'tenant', record[5], 'project', record[6], 'memory_type', record[7], 'version', record[2],
    'content_hash', record[3], 'embedding_model', record[4], 'embedding', vector)
  remember_entry(KEYS[1], KEYS[2], entry)
  return 2
end
local tombstone = redis.call('GET', KEYS[3])
if not tombstone then return 0 end
local stone = cjson.decode(tombstone)
redis.call('XADD', KEYS[2], '*', 'op', 'forgotten', 'traceparent', ARGV[1], 'id', stone.id,
  'tenant', stone.tenant, 'project', stone.project, 'agent_id', stone.agent_id or '',
  'session_id', stone.session_id or '', 'memory_type', stone.memory_type,
  'version', string.format('%d', stone.version), 'forgotten_at', stone.forgotten_at, 'content_hash', '')
return 1
