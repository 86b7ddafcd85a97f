-- attach: give a memory its vector, if its content is still the one that was embedded, and it waits for one.
-- KEYS  1 record  2 journal  3 events  4 timeline (where vectors read what comes after an event)
-- ARGV  1 content hash  2 model  3 vector  4 events prefix  5 traceparent  6 the context that the vector was made in
--       7 the slot of the record that the vector is for  8 the events after it that the vector has read, with commas
--       9 how many these are to be
-- One that waits for none takes it in the place of its own, if that has read others than come after it now, and this one has
-- read these: that is another context. One that waits waits for another, if this one has read what stands there no more.
-- Returns the journal entry's id, or false when the memory is gone, changed, follows others, or has its vector already.
-- Atomic because an update between the check and the write would get the vector of its old words.
local names = { 'pending', 'id', 'version', 'agent_id', 'memory_type', 'session_id', 'tenant', 'project', 'entries', 'context',
  'follows', 'content_hash', 'hash', 'followed_by' }
local record = {}
for i, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do record[names[i]] = value or nil end
record.content_hash, record.context = record.content_hash or record.hash, record.context or '0'
if record.content_hash ~= ARGV[1] or record.context ~= ARGV[6] then return false end
local others, now = ARGV[8] ~= (record.followed_by or ''), followed_by(KEYS[4], record.id, tonumber(ARGV[9]))
if record.pending ~= '1' then
  if not others or ARGV[8] ~= now then return false end
  record.context = string.format('%d', tonumber(record.context) + 1)
elseif not all_in(ARGV[8], now) then
  wait_anew(KEYS[1], KEYS[2], ARGV[5], read_record(KEYS[1]))
  return false
end
local slot, had = ARGV[7], {}
if others then
  drop_vectors(KEYS[1], record)
  record.followed_by = ARGV[8]
  had = { 'followed_by', ARGV[8], 'context', record.context }
end
local entry = journal_vector(KEYS[2], ARGV[5], record, ARGV[2], 'embedding', ARGV[3])
redis.call('HSET', KEYS[1], 'embedding' .. slot, ARGV[3], 'embedding_model' .. slot, ARGV[2], 'pending', '0',
  'entries', entries_with(record.entries, KEYS[2], entry), unpack(had))
notify(KEYS[3], ARGV[4], 'embedded',
  { id = record.id, agent_id = record.agent_id, memory_type = record.memory_type, session_id = record.session_id },
  record.version, entry, ARGV[5])
return entry
