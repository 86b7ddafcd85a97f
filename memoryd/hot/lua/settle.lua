-- settle: a memory's old vector goes, and the archive gets the one that is read now.
-- KEYS  1 record  2 journal
-- ARGV  1 slot that is read  2 slot that was  3 model that is read  4 journal limit
-- Returns settled, or nothing (there is none to do), full (the journal: come again), gone.
-- A memory that lacks the vector waits for it: its journal entry brings it; of a light record, whoever brings its content back. Atomic because the old vector must not go
-- without the entry that brings the new one.
local record = read_record(KEYS[1])
if not record.id then return 'gone' end
local old = vector_in(record, ARGV[2]) or record['embedding_model' .. ARGV[2]]
local vector, name = vector_in(record, ARGV[1])
local fits = vector and record['embedding_model' .. ARGV[1]] == ARGV[3]
if not old and (record.pending == '1') == not fits then return 'nothing' end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[4]) then return 'full' end
local entry
if fits then
  entry = journal_vector(KEYS[2], '', record, ARGV[3], name, vector)
  redis.call('HDEL', KEYS[1], 'embedding' .. ARGV[2], 'half' .. ARGV[2], 'parked' .. ARGV[2],
    'embedding_model' .. ARGV[2])
elseif not record.content then
  drop_vectors(KEYS[1], record)
  redis.call('HSET', KEYS[1], 'pending', '1')
  return 'settled'
else
  drop_vectors(KEYS[1], record)
  entry = journal_record(KEYS[2], 'updated', '', record)
end
redis.call('HSET', KEYS[1], 'pending', fits and '0' or '1', 'entries', entries_with(record.entries, KEYS[2], entry))
return 'settled'
