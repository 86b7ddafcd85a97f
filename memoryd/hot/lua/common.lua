-- Prepended to every script, after the limits that they share: what the atomic steps have in common.
-- Times and versions are decimal strings.

-- Now, in microseconds, by Redis's own clock: what was said before what is decided by it, because the clocks of daemons
-- differ and jump.
local function said_now()
  local now = redis.call('TIME')
  return now[1] .. string.format('%06d', now[2])
end

-- Names the run of this Redis: another one after a restart, which may have lost what was written last.
local function run_of_redis()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

-- A light record is that of a memory of the tier `long`: without content, metadata, terms and brief, which only the archive
-- has, but with the archive's seal of them; its vector is `half` of one. A record with a content is whole. The hash of a light
-- one's content is in `hash`, where no index looks: a term of its own costs as much there as all its other tags.
-- One on its way into the tier `long`, or out of it, has its content and, where no index looks, its whole vector (`parked`): a
-- search finds it by `half` of one, so that the graph lets go of it once, or takes it in once. Here it is as any whole one.
local function read_record(key)
  local flat = redis.call('HGETALL', key)
  local record = {}
  for i = 1, #flat, 2 do record[flat[i]] = flat[i + 1] end
  record.content_hash, record.hash = record.content_hash or record.hash, nil
  for _, slot in ipairs({ '', '2' }) do
    if record['parked' .. slot] then
      record['embedding' .. slot], record['half' .. slot], record['parked' .. slot] = record['parked' .. slot], nil, nil
    end
  end
  return record
end


-- The list of journal entries that carry this memory's text, one longer, so that a forget can remove them all. Entries
-- that were trimmed meanwhile are dropped from it once it grows.
-- Whoever writes a record writes this with it, in one HSET: each write to a hash is indexed anew, and what the index
-- holds of the former ones distorts its statistics until it is cleaned.
local function entries_with(known, journal, entry)
  local kept = {}
  for id in string.gmatch(known or '', '[^,]+') do kept[#kept + 1] = id end
  if #kept >= 8 then
    local present = {}
    for _, id in ipairs(kept) do
      if #redis.call('XRANGE', journal, id, id) > 0 then present[#present + 1] = id end
    end
    kept = present
  end
  kept[#kept + 1] = entry
  return table.concat(kept, ',')
end

-- Returns how many it removed, and the replaced hashes in them: the embedding follower has perhaps not seen them.
local function forget_entries(journal, entries)
  local removed, replaced = 0, {}
  for id in string.gmatch(entries or '', '[^,]+') do
    for _, found in ipairs(redis.call('XRANGE', journal, id, id)) do
      for i = 1, #found[2], 2 do
        if found[2][i] == 'replaced_hash' then replaced[#replaced + 1] = found[2][i + 1] end
      end
    end
    removed = removed + redis.call('XDEL', journal, id)
  end
  return removed, replaced
end

-- Appends the whole record, so that one entry is enough to archive this version. `replaced` is the hash of the content
-- that it had before, when that was another: whoever keeps something under it lets go of it. `precedes` are the ids of the
-- events whose context this change touches. `known`: '1' when the archive has this memory; where it no longer does, somebody has
-- deleted it there, and this entry must not bring it back. '0' when it has lost it, and is to have it again. `archived`: it has
-- this very version, current and in its history.
-- A light record is no version: the archive would lose the content by it. Who meets one here has forgotten to bring it back.
-- Redis's only: `came_at` is when the record came from the archive, by Redis's clock.
local OWN = { entries = 1, pending = 1, terms = 1, brief = 1, stamp = 1, facets = 1, used = 1, seal = 1, weight = 1, came_at = 1 }
local function journal_record(journal, op, traceparent, record, replaced, precedes, known, archived)
  assert(record.content, 'a light record cannot be journaled')
  local entry = { 'op', op, 'traceparent', traceparent, 'precedes', precedes or '' }
  if replaced then
    entry[#entry + 1] = 'replaced_hash'
    entry[#entry + 1] = replaced
  end
  if known then
    entry[#entry + 1] = 'known'
    entry[#entry + 1] = known
  end
  if archived then
    entry[#entry + 1] = 'archived'
    entry[#entry + 1] = '1'
  end
  for name, value in pairs(record) do
    if not OWN[name] then
      entry[#entry + 1] = name
      entry[#entry + 1] = value
    end
  end
  return redis.call('XADD', journal, '*', unpack(entry))
end

-- The name behind a tag, as `from_tag` in model/scope.py.
local function from_tag(tag)
  return (string.gsub(tag, '%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

-- A hint for listeners; it carries no text. `agents` is the channel prefix of the project, the agent's tag completes it.
-- Pub/sub reaches who is connected; for the others the same hint is kept for a while in `events`, of the same bucket.
-- `traceparent` is what caused the change; where nothing is traced there is none, and it takes no room.
local function notify(events, agents, op, record, version, entry, traceparent)
  local agent, session = record.agent_id or '', record.session_id or ''
  local fields = { 'op', op, 'id', record.id, 'type', record.memory_type, 'agent', agent, 'session', session,
    'version', version, 'entry', entry }
  if traceparent == '' then traceparent = nil end
  if traceparent then
    fields[#fields + 1] = 'traceparent'
    fields[#fields + 1] = traceparent
  end
  local kept = redis.call('XADD', events, 'MAXLEN', '~', EVENTS_KEPT_MAX, '*', unpack(fields))
  redis.call('EXPIRE', events, EVENTS_TTL_SECONDS)
  redis.call('PUBLISH', agents .. agent, cjson.encode({
    v = 1, op = op, id = record.id, type = record.memory_type, session = from_tag(session),
    version = tonumber(version), entry = entry, at = string.match(events, '{(%x+)}') .. '-' .. kept,
    traceparent = traceparent,
  }))
end

-- The same content was said again, at that time of Redis's clock: counts that, and tells the journal. Returns the journal entry.
local function touch(key, journal, events, agents, traceparent, now, said_at)
  local record = read_record(key)
  local count = string.format('%d', tonumber(record.access_count) + 1)
  redis.call('HSET', key, 'access_count', count, 'last_accessed', now, 'reinforced_at', said_at, 'used', '1')
  local entry = redis.call('XADD', journal, '*', 'op', 'touched', 'traceparent', traceparent, 'id', record.id,
    'tenant', record.tenant, 'project', record.project, 'memory_type', record.memory_type,
    'version', record.version, 'access_count', count, 'last_accessed', now)
  notify(events, agents, 'touched', record, record.version, entry, traceparent)
  return entry
end

local function tombstone_version(key)
  local tombstone = redis.call('GET', key)
  if not tombstone then return nil end
  local stone = cjson.decode(tombstone)
  return stone.version, stone.forgotten_at, tonumber(stone.said_at or '0')
end

-- The first result of this request, or false. `fingerprint` is of the request's content.
-- The new life of the key is a write: WAITAOF waits for the writes of its own connection only, so without one it would
-- confirm at once what another connection has written and no disk has seen.
local function replay(key, fingerprint, ttl)
  local first = redis.call('GET', key)
  if not first then return false end
  redis.call('EXPIRE', key, ttl)
  local saved = cjson.decode(first)
  if saved.fingerprint ~= fingerprint then return { 'reused' } end
  return { saved.outcome, saved.id, tostring(saved.version), saved.entry, 'replayed', saved.removed or '',
    saved.at or '', saved.here or '' }
end

-- What a forget has to say besides: how many entries it removed, when, and whether the record was here.
local function finish(key, ttl, fingerprint, outcome, id, version, entry, replayed, removed, at, here)
  redis.call('SET', key, cjson.encode({
    fingerprint = fingerprint, outcome = outcome, id = id, version = tonumber(version), entry = entry,
    removed = removed, at = at, here = here,
  }), 'EX', ttl)
  return { outcome, id, tostring(version), entry, replayed or '', removed or '', at or '', here or '' }
end

-- What ranking needs of a memory, in one field, line by line, and its stamp: a number that is of this memory and this brief
-- only. Searches bring the stamps, and a daemon that has read a brief with that stamp needs no more (hot/briefs.py). Whoever
-- writes one of what is in it writes both. 52 bits of the digest: a double, which is what Redis indexes, holds them exactly.
local function brief(record)
  local text = table.concat({ record.speaker or '', record.agent_id or '', record.session_id or '', record.follows or '',
    record.importance, record.valid_from, record.feedback or '', record.terms or '' }, '\n')
  return text, string.format('%.0f', tonumber(string.sub(redis.sha1hex(record.id .. text), 1, 13), 16))
end

-- A record's vectors go: that of the model that is read, and that of one which is filled beside it, and whom of those after
-- it they have read. Memory follows.
local function drop_vectors(key, record)
  redis.call('HDEL', key, 'embedding', 'half', 'parked', 'embedding_model', 'embedding2', 'half2', 'parked2', 'embedding_model2',
    'followed_by')
  record.followed_by = nil
  record.embedding, record.half, record.embedding_model = nil, nil, nil
  record.embedding2, record.half2, record.embedding_model2 = nil, nil, nil
end

-- The vector in a slot, and by which name a record and a journal entry carry it: `half`, as float16, where it is light.
local function vector_in(record, slot)
  if record['embedding' .. slot] then return record['embedding' .. slot], 'embedding' end
  return record['half' .. slot], 'half'
end

-- The brief and its stamp as fields of a record. A light one has no brief: it lacks the words, and says the rest itself.
local function told_by(record)
  local text, stamp = brief(record)
  if not record.content then return { 'stamp', stamp } end
  return { 'brief', text, 'stamp', stamp }
end

-- Writes a record anew, whole or light, in one go: the index takes it in once.
local function write_record(key, record)
  local flat = {}
  record.brief, record.stamp = brief(record)
  if not record.content then record.brief = nil end
  for name, value in pairs(record) do
    flat[#flat + 1] = name == 'content_hash' and not record.content and 'hash' or name
    flat[#flat + 1] = value
  end
  redis.call('DEL', key)
  redis.call('HSET', key, unpack(flat))
end

-- Has searches find a record by its whole vector again, if that was parked: it is not on its way any more.
local function unpark(key)
  if redis.call('HEXISTS', key, 'parked') + redis.call('HEXISTS', key, 'parked2') > 0 then write_record(key, read_record(key)) end
end

-- Takes out of a record what a light one lacks. `weight` is about how many bytes that are, index included. `half` is the
-- vector in the slot as float16: the whole one is in the archive. What says nothing is left out as well.
local function lighten(record, seal, slot, half)
  if record.content then
    record.weight = #record.content + #record.metadata + 3 * #(record.terms or '')
  end
  record.content, record.metadata, record.terms, record.used, record.seal = nil, nil, nil, nil, seal
  record['embedding' .. slot], record['half' .. slot] = nil, half
  for _, name in ipairs({ 'tags', 'related', 'derived_from', 'source_tool' }) do
    if record[name] == '' then record[name] = nil end
  end
end

-- How often feedback has changed: the higher count knows more.
local function judgements(feedback)
  return tonumber(string.match(feedback or '', '^%d+') or '0')
end

-- The events around one on its session's timeline, nearest first, as ids with commas: the two that it follows, and the
-- two that follow it. Empty for one that has no place there.
local function follows(timeline, id)
  local rank = redis.call('ZRANK', timeline, id)
  if not rank or rank == 0 then return '' end
  local before = redis.call('ZRANGE', timeline, math.max(0, rank - 2), rank - 1)
  return before[2] and before[2] .. ',' .. before[1] or before[1]
end

local function precedes(timeline, id)
  local rank = redis.call('ZRANK', timeline, id)
  return rank and table.concat(redis.call('ZRANGE', timeline, rank + 1, rank + 2), ',') or ''
end

-- The next `count` on the timeline, nearest first.
local function followed_by(timeline, id, count)
  local rank = count > 0 and redis.call('ZRANK', timeline, id)
  return rank and table.concat(redis.call('ZRANGE', timeline, rank + 1, rank + count), ',') or ''
end

-- Whether each of some ids is among others, both with commas.
local function all_in(some, others)
  for one in string.gmatch(some, '[^,]+') do
    if not string.find(others, one, 1, true) then return false end
  end
  return true
end

-- Tells the journal that a record has got the vector which it carries under `name`.
local function journal_vector(journal, traceparent, record, model, name, vector)
  local entry = { 'op', 'embedded', 'traceparent', traceparent, 'id', record.id, 'tenant', record.tenant,
    'project', record.project, 'memory_type', record.memory_type, 'version', record.version,
    'content_hash', record.content_hash, 'embedding_model', model, name, vector,
    'context', record.context or '0', 'follows', record.follows or '' }
  if (record.followed_by or '') ~= '' then
    entry[#entry + 1] = 'followed_by'
    entry[#entry + 1] = record.followed_by
  end
  return redis.call('XADD', journal, '*', unpack(entry))
end

-- A record waits for the vector of its context; those of the earlier ones go, also what of them the journal has still to bring to
-- the archive. Returns the journal entry that brings the new one; a light record says so in an entry of its own (`refollowed`): the
-- embedding follower reads its content in the archive.
local function wait_for_vector(key, journal, traceparent, record)
  drop_vectors(key, record)
  local kept = {}
  for id in string.gmatch(record.entries or '', '[^,]+') do
    local found = redis.call('XRANGE', journal, id, id)[1]
    if found and found[2][1] == 'op' and found[2][2] == 'embedded' then
      redis.call('XDEL', journal, id)
    else
      kept[#kept + 1] = id
    end
  end
  record.entries = table.concat(kept, ',')
  local entry = record.content and journal_record(journal, 'updated', traceparent, record)
    or redis.call('XADD', journal, '*', 'op', 'refollowed', 'traceparent', traceparent, 'id', record.id, 'tenant', record.tenant,
      'project', record.project, 'agent_id', record.agent_id or '', 'session_id', record.session_id or '',
      'memory_type', record.memory_type, 'version', record.version,
      'content_hash', record.content_hash, 'context', record.context, 'follows', record.follows,
      'speaker', record.speaker or '')
  redis.call('HSET', key, 'follows', record.follows, 'context', record.context, 'pending', '1',
    'entries', entries_with(record.entries, journal, entry), unpack(told_by(record)))
  return entry
end

-- The same in another context.
local function wait_anew(key, journal, traceparent, record)
  record.follows, record.context = record.follows or '', string.format('%d', tonumber(record.context or '0') + 1)
  return wait_for_vector(key, journal, traceparent, record)
end

local function inside(record, agent, session)
  return (agent == '' or record.agent_id == agent) and (session == '' or record.session_id == session)
end

-- What a request was told first by a step on an agent's own space (scratchpad, leases …), or false. `answers` is a hash:
-- a digest of the request's id → the fingerprint of its content and the words it got.
local function told(answers, request, fingerprint)
  local first = redis.call('HGET', answers, request)
  if not first then return false end
  local saved = cjson.decode(first)
  if saved.fingerprint ~= fingerprint then return { 'reused' } end
  return saved.words
end

-- Words are strings: a JSON number from Lua keeps 14 digits only.
local function tell(answers, request, fingerprint, ttl_ms, words)
  redis.call('HSET', answers, request, cjson.encode({ fingerprint = fingerprint, words = words }))
  redis.call('HPEXPIRE', answers, ttl_ms, 'FIELDS', 1, request)
  redis.call('PEXPIRE', answers, ttl_ms)
  return words
end
