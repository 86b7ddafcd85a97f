-- move: give a memory another tier, as a version of its own. Its record stays here until the archive is seen to have it.
-- KEYS  1 record  2 journal  3 events
-- ARGV  1 the version that was decided on  2 tier  3 '1': only with its vector  4 journal limit  5 events prefix
--       6 traceparent  7 the slot of the vector that is read  8 the vector that was seen there ('' = none, or another tier than
--       `long`)  9 the same as float16
-- Returns {'moved', id, version, entry}; {'already', id, version, entry} when it has this tier; {'missing'},
--       {'conflict', current version}, {'pending'} (it waits for its vector), {'overloaded'}; {'light'} (its content has to
--       be brought back first); to `long` also {'waiting'} (the archive has yet to see what the journal holds of it).
-- Atomic because a change between the decision and the move has to win.
local record = read_record(KEYS[1])
if not record.id then return { 'missing' } end
if record.tier == ARGV[2] then
  return { 'already', record.id, record.version, string.match(record.entries or '', '[^,]+$') or '' }
end
if not record.content then return { 'light' } end
if record.version ~= ARGV[1] then return { 'conflict', record.version } end
if ARGV[3] == '1' and record.pending == '1' then return { 'pending' } end
if ARGV[2] == 'long' then
  for entry in string.gmatch(record.entries or '', '[^,]+') do
    if #redis.call('XRANGE', KEYS[2], entry, entry) > 0 then return { 'waiting' } end
  end
end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[4]) then return { 'overloaded' } end
record.version = string.format('%d', tonumber(record.version) + 1)
record.tier, record.used = ARGV[2], '0'
local entry = journal_record(KEYS[2], 'moved', ARGV[6], record)
record.entries = entries_with(record.entries, KEYS[2], entry)
local slot = ARGV[7]
if ARGV[8] ~= '' and record['embedding' .. slot] == ARGV[8] then
  record['parked' .. slot], record['half' .. slot], record['embedding' .. slot] = ARGV[8], ARGV[9], nil
end
write_record(KEYS[1], record)
notify(KEYS[3], ARGV[5], 'moved', record, record.version, entry, ARGV[6])
return { 'moved', record.id, record.version, entry }
