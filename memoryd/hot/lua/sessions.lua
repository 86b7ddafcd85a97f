-- Prepended to the scripts of sessions, after documents.lua. A session is one JSON document:
--   the bookkeeping of documents, `head` (what is archived of it as a document), `messages` by number, each with the
--   journal entry that carries its text, and `checkpoints` by number in the same way.
-- Which messages it holds now: those there are with numbers in `segments` ([from, below]), or from `tail` up to below
-- `next`. Numbers are never given twice, so an append, a rollback and its undoing only change the head.

local SESSION = { '$.version', '$.entries', '$.head.status', '$.head.next', '$.head.tail', '$.head.segments',
  '$.head.message_count', '$.head.bytes', '$.head.state_version', '$.head.ttl_seconds', '$.head.next_checkpoint',
  '$.head.first_checkpoint' }

local function session_of(key)
  local raw = redis.call('JSON.GET', key, unpack(SESSION))
  if not raw then return nil end
  local found, session = cjson.decode(raw), {}
  for _, path in ipairs(SESSION) do session[string.match(path, '([%w_]+)$')] = found[path][1] end
  return session
end

-- The JSON text of one value, or nil.
local function text_of(key, path)
  local raw = redis.call('JSON.GET', key, path)
  if not raw or raw == '[]' then return nil end
  return string.sub(raw, 2, -2)
end

local function message_path(number)
  return '$.messages["' .. whole(number) .. '"]'
end

local function checkpoint_path(number)
  return '$.checkpoints["' .. whole(number) .. '"]'
end

-- The ranges of numbers that the session holds, its open end included.
local function held(session)
  local ranges = {}
  for _, one in ipairs(session.segments) do ranges[#ranges + 1] = one end
  if session.tail < session.next then ranges[#ranges + 1] = { session.tail, session.next } end
  return ranges
end

local function ranges_text(ranges)
  local texts = {}
  for i, one in ipairs(ranges) do texts[i] = '[' .. whole(one[1]) .. ',' .. whole(one[2]) .. ']' end
  return '[' .. table.concat(texts, ',') .. ']'
end

-- Journals the head as it is now and counts the version up.
local function journal_head(key, journal, traceparent, place, session)
  local version = whole(session.version + 1)
  local entry = journal_place(journal, 'document', traceparent, place, version, { 'body', text_of(key, '$.head') })
  redis.call('JSON.MERGE', key, '$',
    string.format('{"version":%s,"entries":"%s"}', version, entries_with(session.entries, journal, entry)))
  redis.call('EXPIRE', key, whole(session.ttl_seconds))
  return version, entry
end

-- What a checkpoint keeps of the session as it is. `label` is a JSON string.
local function captured(key, session, label, now)
  return string.format('{"label":%s,"at":%s,"captured_version":%s,"segments":%s,"message_count":%s,"bytes":%s,'
      .. '"variables":%s,"tools":%s,"recalled":%s}',
    label, now, whole(session.version), ranges_text(held(session)), whole(session.message_count), whole(session.bytes),
    text_of(key, '$.head.variables'), text_of(key, '$.head.tools'), text_of(key, '$.head.recalled'))
end

-- Writes the next checkpoint, and lets go of those that are more than `keep` behind it.
local function add_checkpoint(key, journal, traceparent, place, session, version, body, keep)
  local number = session.next_checkpoint
  local parts = { collection = 'checkpoints', id = place.id, tenant = place.tenant, project = place.project,
    agent = place.agent, session = place.session }
  local entry = journal_place(journal, 'parts', traceparent, parts, version,
    { 'first', whole(number), 'body', '[' .. body .. ']' })
  redis.call('JSON.SET', key, checkpoint_path(number), '{"entry":"' .. entry .. '","checkpoint":' .. body .. '}')
  local first, gone = session.first_checkpoint, {}
  while number - first + 1 > keep do
    local path = checkpoint_path(first)
    local old = text_of(key, path .. '.entry')
    if old then
      if old ~= '""' then redis.call('XDEL', journal, string.sub(old, 2, -2)) end -- "" came back from the archive
      redis.call('JSON.DEL', key, path)
      gone[#gone + 1] = whole(first)
    end
    first = first + 1
  end
  if #gone > 0 then journal_place(journal, 'dropped', traceparent, parts, version, { 'numbers', table.concat(gone, ',') }) end
  redis.call('JSON.MERGE', key, '$.head',
    string.format('{"next_checkpoint":%s,"first_checkpoint":%s}', whole(number + 1), whole(first)))
  return entry
end
