-- project: bring what the archive holds into Redis, only if it is newer.
-- KEYS  1 record  2 journal  3 tombstone  4 dedup filter  5 fence  6 events  7 timeline (of an event in a session only)
-- ARGV  1 version  2 tombstone as JSON ('' = a living memory)  3 tombstone ttl  4 journal it as this ('' = do not)
--       5 events prefix  6 traceparent  7 the writer's fence ('' = none)  8 inserted there by hand ('1'|'0')
--       9 the slot of the record that its vector is for  10 it belongs to the archive only: nothing comes here that is not
--       here ('1'|'0')  11 its content is wanted here ('1'|'0')  12 the archive's seal of a memory that may be light here
--       ('' = may not)  13 the vector of such a one as float16  14 the archive has this version as it is, in its history too
--       ('1'|'0')  15 all that the archive has comes, in no order, and who brings it tells the events their order afterwards
--       ('1'|'0')  16 its vector ('' = none)  17 the record's other fields as MessagePack: as so many arguments they cost both
--       processes more
-- Returns away (it is not here, and belongs there) | whole (its record was light, and has its content again)
--       | applied | enriched (same version: a vector, a context, newer counters, feedback) | ignored | fenced (a newer writer is active)
--       | kept (a forget from elsewhere met what was said after it, which is lifted above the tombstone).
-- What a forget or a new content from elsewhere leaves behind here, the cached vectors, is told to the journal's followers; so is
-- that an event comes between others: this Redis had lost it, and what was said since does not know it.
-- Atomic because a local write between the comparison and the copy would be overwritten by its own past.
local version, tombstone, slot = tonumber(ARGV[1]), ARGV[2], ARGV[9]
local fields = cmsgpack.unpack(ARGV[17])
if ARGV[16] ~= '' then fields.embedding = ARGV[16] end
local known = redis.call('HMGET', KEYS[1], 'version', 'entries', 'pending', 'content_hash', 'access_count',
  'said_at', 'reinforced_at', 'context', 'follows', 'valid_from', 'feedback', 'hash')
known[4] = known[4] or known[12]
local context, known_context = tonumber(fields.context or '0'), tonumber(known[8] or '0')
local current = tonumber(known[1] or '0')
local light = current > 0 and redis.call('HEXISTS', KEYS[1], 'content') == 0
local buried = tombstone_version(KEYS[3]) or 0

local function tell_order()
  redis.call('XADD', KEYS[2], '*', 'op', 'touched', 'traceparent', ARGV[6], 'id', fields.id, 'tenant', fields.tenant,
    'project', fields.project, 'agent_id', fields.agent_id, 'session_id', fields.session_id, 'memory_type', fields.memory_type,
    'version', ARGV[1], 'access_count', fields.access_count, 'last_accessed', fields.last_accessed,
    'precedes', fields.id .. ',' .. precedes(KEYS[7], fields.id), 'follows', follows(KEYS[7], fields.id), 'archived', '1')
end
-- Whether it says that it follows others than stand before it here.
local function elsewhere()
  return KEYS[7] and ARGV[15] == '0' and fields.follows ~= follows(KEYS[7], fields.id)
end

if ARGV[7] ~= '' and tonumber(ARGV[7]) < tonumber(redis.call('GET', KEYS[5]) or '0') then return 'fenced' end
if version < current or version <= buried then return 'ignored' end
if tombstone ~= '' then
  local stone = cjson.decode(tombstone)
  -- When the record was last said: stored again, or changed to the very version that the forget made of another state.
  local said_at = math.max(tonumber(known[7] or '0'), version == current and tonumber(known[6] or '0') or 0)
  -- Of a light record nothing would be left to keep: its content has gone with the archive's.
  if current > 0 and not light and said_at > stone.said_at then
    local record = read_record(KEYS[1])
    record.version = string.format('%d', version + 1)
    local entry = journal_record(KEYS[2], 'updated', ARGV[6], record)
    redis.call('HSET', KEYS[1], 'version', record.version, 'entries', entries_with(record.entries, KEYS[2], entry))
    redis.call('SET', KEYS[3], tombstone, 'EX', ARGV[3])
    notify(KEYS[6], ARGV[5], 'updated', record, record.version, entry, ARGV[6])
    return 'kept'
  end
  local _, replaced = forget_entries(KEYS[2], known[2])
  local touched = KEYS[7] and precedes(KEYS[7], fields.id) or ''
  local heard_by = KEYS[7] and follows(KEYS[7], fields.id) or ''
  if KEYS[7] then redis.call('ZREM', KEYS[7], fields.id) end
  if current > 0 or touched ~= '' or heard_by ~= '' then
    redis.call('XADD', KEYS[2], '*', 'op', 'forgotten', 'traceparent', ARGV[6], 'id', fields.id, 'tenant', fields.tenant,
      'project', fields.project, 'agent_id', fields.agent_id, 'session_id', fields.session_id,
      'memory_type', fields.memory_type, 'version', ARGV[1],
      'forgotten_at', string.format('%.0f', stone.forgotten_at), 'said_at', string.format('%.0f', stone.said_at),
      'content_hash', known[4] or '',
      'replaced_hash', table.concat(replaced, ','), 'precedes', touched, 'heard_by', heard_by)
  end
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[3], tombstone, 'EX', ARGV[3])
  notify(KEYS[6], ARGV[5], 'forgotten', fields, version, '', ARGV[6])
  return 'applied'
end
if ARGV[10] == '1' and current == 0 then
  -- What is stored again or said after it must be met all the same: the filter sends to the archive, the timeline tells.
  redis.call('BF.INSERT', KEYS[4], 'CAPACITY', 100000, 'ERROR', '0.001', 'ITEMS', fields.id)
  if KEYS[7] then redis.call('ZADD', KEYS[7], fields.valid_from, fields.id) end
  return 'away'
end
if version == current and light and ARGV[11] == '1' and fields.content_hash == known[4] then
  local record = read_record(KEYS[1])
  record.content, record.metadata, record.terms, record.seal, record.weight = fields.content, fields.metadata, fields.terms, nil, nil
  if record['half' .. slot] then
    if fields.embedding and fields.embedding_model == record['embedding_model' .. slot] and context == known_context then
      record['parked' .. slot] = fields.embedding
    else -- the archive has another one by now: it is made anew
      drop_vectors(KEYS[1], record)
      record.pending = '1'
    end
  end
  if record.pending == '1' then -- nobody could embed it so far
    record.entries = entries_with(record.entries, KEYS[2],
      journal_record(KEYS[2], 'updated', ARGV[6], record, nil, nil, '1'))
  end
  write_record(KEYS[1], record)
  return 'whole'
end
if version == current then
  local enriched = 'ignored'
  if context > known_context then -- told elsewhere that it follows others now: the vector made before is no longer its own
    local record = read_record(KEYS[1])
    record.follows, record.context = fields.follows, fields.context
    if fields.embedding then
      drop_vectors(KEYS[1], record)
      redis.call('HSET', KEYS[1], 'follows', fields.follows, 'context', fields.context, 'pending', '1',
        unpack(told_by(record)))
    else -- whoever was to make the vector was perhaps this Redis, which has lost that
      wait_for_vector(KEYS[1], KEYS[2], ARGV[6], record)
    end
    known[3], known_context, enriched = '1', context, 'enriched'
    if elsewhere() then tell_order() end
  elseif context > 0 and context == known_context and fields.follows ~= (known[9] or '') then
    -- Another context of the same number, which this Redis has lost: who reads a number must know which one is meant.
    wait_anew(KEYS[1], KEYS[2], ARGV[6], read_record(KEYS[1]))
    return 'enriched'
  end
  if known[3] == '1' and fields.embedding and fields.content_hash == known[4] and context == known_context then
    redis.call('HSET', KEYS[1], 'embedding' .. slot, fields.embedding, 'embedding_model' .. slot, fields.embedding_model,
      'pending', '0')
    if fields.followed_by then redis.call('HSET', KEYS[1], 'followed_by', fields.followed_by) end
    notify(KEYS[6], ARGV[5], 'embedded', fields, version, '', ARGV[6])
    enriched = 'enriched'
  end
  if tonumber(fields.access_count) > tonumber(known[5]) then
    redis.call('HSET', KEYS[1], 'access_count', fields.access_count, 'last_accessed', fields.last_accessed)
    enriched = 'enriched'
  end
  if judgements(fields.feedback) > judgements(known[11]) then
    local record = read_record(KEYS[1])
    record.feedback = fields.feedback
    redis.call('HSET', KEYS[1], 'feedback', fields.feedback, unpack(told_by(record)))
    enriched = 'enriched'
  end
  return enriched
end

local entry, entries = '', known[2] or ''
local replaced = known[4] and known[4] ~= fields.content_hash and known[4] or nil
local op, touched = ARGV[4], ''
local journaled, archived = op ~= '', ARGV[14] == '1'
if KEYS[7] then
  if journaled and (replaced or (known[10] and known[10] ~= fields.valid_from)) then touched = precedes(KEYS[7], fields.id) end
  redis.call('ZADD', KEYS[7], fields.valid_from, fields.id)
  if journaled and known[10] and known[10] ~= fields.valid_from then
    touched = table.concat({ touched, precedes(KEYS[7], fields.id), fields.id }, ',')
  end
  if ARGV[8] == '1' and current == 0 and fields.follows == '' then
    fields.follows, touched = follows(KEYS[7], fields.id), precedes(KEYS[7], fields.id)
    if fields.follows ~= '' then fields.context, archived = '1', false end -- so that the archive takes it over
  end
end
if known_context > context then -- the archive has yet to hear that it follows others now
  fields.follows, fields.context, fields.pending = known[9], known[8], '1'
  fields.embedding, fields.embedding_model, fields.followed_by, journaled, archived = nil, nil, nil, true, false
end
if not replaced and judgements(known[11]) > judgements(fields.feedback) then -- of the same words, and not yet archived
    fields.feedback, journaled, archived = known[11], true, false
end
if journaled then
  entry = journal_record(KEYS[2], op == '' and 'updated' or op, ARGV[6], fields, replaced, touched, '1', archived)
  entries = entries_with(entries, KEYS[2], entry)
elseif replaced then
  redis.call('XADD', KEYS[2], '*', 'op', 'touched', 'traceparent', ARGV[6], 'id', fields.id, 'tenant', fields.tenant,
    'project', fields.project, 'memory_type', fields.memory_type, 'version', ARGV[1],
    'access_count', fields.access_count, 'last_accessed', fields.last_accessed, 'replaced_hash', replaced)
end
fields.entries, fields.came_at = entries, said_now()
local embedded = fields.embedding
if slot ~= '' then
  fields['embedding' .. slot], fields['embedding_model' .. slot] = fields.embedding, fields.embedding_model
  fields.embedding, fields.embedding_model = nil, nil
end
if ARGV[12] ~= '' and ARGV[11] == '0' and not journaled and embedded then lighten(fields, ARGV[12], slot, ARGV[13]) end
write_record(KEYS[1], fields)
redis.call('BF.INSERT', KEYS[4], 'CAPACITY', 100000, 'ERROR', '0.001', 'ITEMS', fields.id)
if KEYS[7] and ARGV[15] == '0' and touched == '' and (current == 0 or elsewhere()) then tell_order() end
notify(KEYS[6], ARGV[5], current == 0 and 'stored' or 'updated', fields, version, entry, ARGV[6])
return 'applied'
