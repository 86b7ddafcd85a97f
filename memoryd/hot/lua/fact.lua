-- fact: change what is known of a subject, and remember the new fact, in the same moment.
-- KEYS  1 the new fact's record (the known one's, when it is known)  2 journal  3 tombstone  4 idempotency  5 events
--       6 turn  7.. the records to change
-- ARGV  1 fingerprint  2 idempotency ttl  3 journal limit  4 events prefix  5 traceparent
--       6 the turn in which this was planned ('' = none)  7 ttl of the turn  8 now
--       9 what becomes of KEYS[1]: 'new', 'known' (it is reinforced, or among the changed), or 'none'
--       10 for each record to change its version and its fields, as JSON  11.. the new record's fields and values
-- Returns {outcome, id, version, entry, 'replayed' or '', the ids of the others that were changed, with commas}: stored,
--       updated, reinforced, or ended; {'raced'} (what it was planned for is another by now), {'overloaded'}, {'reused'}.
-- Atomic because a reader must see one of two contradicting facts, and a writer between them would make both hold.
local fingerprint, ttl, traceparent = ARGV[1], ARGV[2], ARGV[5]
local first = replay(KEYS[4], fingerprint, ttl)
if first then return first end

local changes, records, ids = cjson.decode(ARGV[10]), {}, {}
for i, change in ipairs(changes) do
  records[i] = read_record(KEYS[6 + i])
  if records[i].version ~= change.version then return { 'raced' } end
  ids[i] = records[i].id
end
if (redis.call('GET', KEYS[6]) or '') ~= ARGV[6] then return { 'raced' } end

local fields = {}
for i = 11, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end
local known = redis.call('HMGET', KEYS[1], 'version', 'id')
local floor = tombstone_version(KEYS[3])
if ARGV[9] == 'new' and (known[1] or floor) then
  -- A repeat whose first result is known no more, as in `store`.
  return finish(KEYS[4], ttl, fingerprint, 'stored', fields.id, known[1] or floor - 1, '0-0', 'replayed')
end
if ARGV[9] == 'known' and not known[1] then return { 'raced' } end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[3]) then return { 'overloaded' } end

-- Changes fields of a record and counts its version up; returns the version and its journal entry.
local function change_record(key, record, values)
  values.version, values.said_at = string.format('%d', tonumber(record.version) + 1), said_now()
  for name, value in pairs(values) do record[name] = value end
  local entry = journal_record(KEYS[2], 'updated', traceparent, record)
  values.entries = entries_with(record.entries, KEYS[2], entry)
  values.brief, values.stamp = brief(record)
  local flat = {}
  for name, value in pairs(values) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', key, unpack(flat))
  notify(KEYS[5], ARGV[4], 'updated', record, values.version, entry, traceparent)
  return values.version, entry
end

local outcome, id, version, entry, ended = 'ended', ids[1] or '', nil, '0-0', {}
for i, change in ipairs(changes) do
  local counted
  counted, entry = change_record(KEYS[6 + i], records[i], change.fields)
  if ARGV[9] == 'known' and ids[i] == known[2] then version = counted else ended[#ended + 1] = ids[i] end
end
if #changes > 0 or ARGV[9] == 'new' then redis.call('SET', KEYS[6], said_now(), 'EX', ARGV[7]) end

if ARGV[9] == 'new' then
  outcome, id, version = 'stored', fields.id, '1'
  fields.version, fields.said_at = version, said_now()
  entry = journal_record(KEYS[2], 'stored', traceparent, fields)
  fields.brief, fields.stamp = brief(fields)
  local flat = { 'entries', entry }
  for name, value in pairs(fields) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  redis.call('HSET', KEYS[1], unpack(flat))
  notify(KEYS[5], ARGV[4], 'stored', fields, version, entry, traceparent)
elseif ARGV[9] == 'known' then
  outcome, id = version and 'updated' or 'reinforced', known[2]
  if not version then version, entry = known[1], touch(KEYS[1], KEYS[2], KEYS[5], ARGV[4], traceparent, ARGV[8], said_now()) end
end
return finish(KEYS[4], ttl, fingerprint, outcome, id, version or '0', entry, '', table.concat(ended, ','))
