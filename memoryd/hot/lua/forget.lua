-- forget: remove a memory with every journal entry that carries its text, and leave a tombstone.
-- KEYS  1 record  2 journal  3 tombstone  4 idempotency  5 events  6 timeline (of an event in a session only)
-- ARGV  1 now  2 agent tag ('' = any)  3 session tag ('' = any)  4 version that the archive holds ('0' = none)
--       5 fingerprint  6 idempotency ttl  7 tombstone ttl  8 events prefix  9 traceparent  10 id
--       11 tenant tag  12 project tag  13 agent tag  14 session tag  15 type  16 content hash
--       (11-16: of a memory only the archive has)  17 only what was said here, and before this ('0' = whatever it is)
--       18 when the request came, by Redis's clock ('0' = now)
-- Returns {'forgotten', id, version, entry, '', journal entries removed, when, 1 if its record was here};
--       {'already', id, version, '', '', '', when} when a tombstone stands; {'missing'}; {'reused'}.
-- Atomic because a writer between the removal and the tombstone could bring the memory back.
local first = replay(KEYS[4], ARGV[5], ARGV[6])
if first then return first end
local record = read_record(KEYS[1])
local buried, buried_at, buried_said_at = tombstone_version(KEYS[3])
local archived, here = tonumber(ARGV[4]), record.id and 1 or 0
if ARGV[17] ~= '0' then
  -- What came here from the archive was said before that. What the archive has and this Redis has not was said to another.
  local said = math.max(tonumber(record.said_at or '0'), tonumber(record.reinforced_at or '0'), tonumber(record.came_at or '0'))
  if not record.id or tonumber(record.version) < archived or said > tonumber(ARGV[17]) then return { 'missing' } end
end
if record.id and not inside(record, ARGV[2], ARGV[3]) then return { 'missing' } end
-- Asked for before it was last forgotten: what was meant has gone with that, and what lives was stored since. A Redis that has
-- lost its last second has lost that it was done, not the request.
local done_before = buried and ARGV[18] ~= '0' and tonumber(ARGV[18]) <= buried_said_at
if done_before or (not record.id and buried and buried >= archived) then
  return finish(KEYS[4], ARGV[6], ARGV[5], 'already', ARGV[10], string.format('%d', buried), '', '', '',
    string.format('%.0f', tonumber(buried_at)), '')
end
if not record.id then
  if archived == 0 then return { 'missing' } end
  record = { id = ARGV[10], tenant = ARGV[11], project = ARGV[12], agent_id = ARGV[13], session_id = ARGV[14],
             memory_type = ARGV[15], content_hash = ARGV[16] }
end

local version = string.format('%d', math.max(tonumber(record.version or '0'), buried or 0, archived) + 1)
local said_at = said_now()
local removed, replaced = forget_entries(KEYS[2], record.entries)
local touched = KEYS[6] and precedes(KEYS[6], record.id) or ''
local heard_by = KEYS[6] and follows(KEYS[6], record.id) or ''
if KEYS[6] then redis.call('ZREM', KEYS[6], record.id) end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[3], cjson.encode({
  id = record.id, tenant = record.tenant, project = record.project, agent_id = record.agent_id,
  session_id = record.session_id, memory_type = record.memory_type, version = tonumber(version),
  forgotten_at = ARGV[1], said_at = said_at, -- as text: a JSON number from Lua keeps 14 digits only
}), 'EX', ARGV[7])
local entry = redis.call('XADD', KEYS[2], '*', 'op', 'forgotten', 'traceparent', ARGV[9], 'id', record.id,
  'tenant', record.tenant, 'project', record.project, 'agent_id', record.agent_id or '',
  'session_id', record.session_id or '', 'memory_type', record.memory_type, 'version', version,
  'forgotten_at', ARGV[1], 'said_at', said_at, 'content_hash', record.content_hash or '',
  'replaced_hash', table.concat(replaced, ','), 'precedes', touched, 'heard_by', heard_by)
notify(KEYS[5], ARGV[8], 'forgotten', record, version, entry, ARGV[9])
return finish(KEYS[4], ARGV[6], ARGV[5], 'forgotten', record.id, version, entry, '', removed, ARGV[1], here)
