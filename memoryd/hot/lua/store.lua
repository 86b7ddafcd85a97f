-- store: remember a new memory, or reinforce the one that has the same content.
-- KEYS  1 record  2 journal  3 tombstone  4 dedup filter  5 idempotency  6 events
--       7 timeline (of an event in a session only)
-- ARGV  1 now  2 dedups ('1'|'0')  3 version that the archive holds ('' = not looked, '0' = none)  4 fingerprint
--       5 idempotency ttl  6 journal limit  7 events prefix  8 traceparent  9 when the request came, by Redis's clock ('0' =
--       now)  10.. the record's fields and values
-- Returns {outcome, id, version, entry}: stored | reinforced; or {'occupied'} (the id belongs to other content),
--       {'ask_archive'} (perhaps seen before), {'freed'} (forgotten: the content may live on under a later salt; not
--       said to who has looked), {'overloaded'}, {'reused'}; a fifth element says 'replayed'.
-- Atomic because the dedup decision, the record, its journal entry, the idempotency key and the hint stand or fall together.
local now, dedups, archived, fingerprint, ttl = ARGV[1], ARGV[2] == '1', ARGV[3], ARGV[4], ARGV[5]
local agents, traceparent = ARGV[7], ARGV[8]
local said_at = ARGV[9] == '0' and said_now() or ARGV[9]

local first = replay(KEYS[5], fingerprint, ttl)
if first then return first end
if redis.call('XLEN', KEYS[2]) >= tonumber(ARGV[6]) then return { 'overloaded' } end

local fields = {}
for i = 10, #ARGV, 2 do fields[ARGV[i]] = ARGV[i + 1] end

local known = redis.call('HMGET', KEYS[1], 'version', 'entries', 'content_hash', 'hash')
local hash = known[3] or known[4]
local floor, _, forget_said_at = tombstone_version(KEYS[3])
if not dedups and (hash or floor) then
  -- An event's id is made of its request: this is a repeat whose first result is known no more, because a day has passed
  -- or because Redis was emptied and the archive has brought the event back, or that it was forgotten.
  local entry = hash and string.match(known[2] or '', '[^,]+$') or '0-0' -- the archive itself waits for nothing
  return finish(KEYS[5], ttl, fingerprint, 'stored', fields.id, known[1] or floor - 1, entry, 'replayed')
end
if hash then
  if hash ~= fields.content_hash then return { 'occupied' } end
  local entry = touch(KEYS[1], KEYS[2], KEYS[6], agents, traceparent, now, said_at)
  return finish(KEYS[5], ttl, fingerprint, 'reinforced', fields.id, known[1], entry)
end

if floor and tonumber(said_at) < forget_said_at then
  -- Asked for before it was forgotten. A Redis that has lost its last second has lost that it was done, not the request.
  return finish(KEYS[5], ttl, fingerprint, 'stored', fields.id, floor - 1, '0-0', 'replayed')
end
if dedups and archived == '' then
  if floor then return { 'freed' } end
  if redis.call('BF.EXISTS', KEYS[4], fields.id) == 1 then return { 'ask_archive' } end
end
local version = string.format('%d', math.max(floor or 0, tonumber(archived) or 0) + 1)
if dedups then redis.call('BF.INSERT', KEYS[4], 'CAPACITY', 100000, 'ERROR', '0.001', 'ITEMS', fields.id) end
fields.version, fields.said_at = version, said_at
local touched = ''
if KEYS[7] then
  redis.call('ZADD', KEYS[7], fields.valid_from, fields.id)
  fields.follows, touched = follows(KEYS[7], fields.id), precedes(KEYS[7], fields.id)
end
local entry = journal_record(KEYS[2], 'stored', traceparent, fields, nil, touched)
fields.brief, fields.stamp = brief(fields)
local flat = { 'entries', entry }
for name, value in pairs(fields) do
  flat[#flat + 1] = name
  flat[#flat + 1] = value
end
redis.call('HSET', KEYS[1], unpack(flat))
notify(KEYS[6], agents, 'stored', fields, version, entry, traceparent)
return finish(KEYS[5], ttl, fingerprint, 'stored', fields.id, version, entry)
