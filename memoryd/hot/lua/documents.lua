-- Prepended to the scripts of documents, after common.lua. A place is six arguments: collection, id, and the tags of
-- tenant, project, agent and session. Versions are whole numbers below 2^53, so Lua counts them exactly.

local function place_of(argv)
  return { collection = argv[1], id = argv[2], tenant = argv[3], project = argv[4], agent = argv[5], session = argv[6] }
end

-- Some values of a JSON document by their names at its root, or nil when there is no document.
local function values_of(key, ...)
  local names, paths = { ... }, {}
  for i, name in ipairs(names) do paths[i] = '$.' .. name end
  local raw = redis.call('JSON.GET', key, unpack(paths))
  if not raw then return nil end
  local found = cjson.decode(raw)
  if #names == 1 then return { [names[1]] = found[1] } end
  local values = {}
  for i, name in ipairs(names) do values[name] = found[paths[i]][1] end
  return values
end

local function whole(number)
  return string.format('%.0f', number)
end

local function ended_version(key)
  local stone = redis.call('GET', key)
  return stone and tonumber(cjson.decode(stone).version) or 0
end

-- One entry of a document's journal; `fields` are names and values behind those that all have.
local function journal_place(journal, op, traceparent, place, version, fields)
  return redis.call('XADD', journal, '*', 'op', op, 'traceparent', traceparent, 'collection', place.collection,
    'id', place.id, 'tenant', place.tenant, 'project', place.project, 'agent_id', place.agent,
    'session_id', place.session, 'version', version, unpack(fields))
end

-- What stands before a body: a body's text begins with a brace, and has at least one name.
local function with_bookkeeping(place, version, entries, body)
  return string.format(
    '{"id":"%s","tenant":"%s","project":"%s","agent_id":"%s","session_id":"%s","version":%s,"entries":"%s",',
    place.id, place.tenant, place.project, place.agent, place.session, version, entries) .. string.sub(body, 2)
end

local function seen(filter, id)
  redis.call('BF.INSERT', filter, 'CAPACITY', 100000, 'ERROR', '0.001', 'ITEMS', id)
end

-- The words that answered this request first, or false. Words are strings: a JSON number from Lua keeps 14 digits only.
local function answered(key, fingerprint, ttl)
  local first = redis.call('GET', key)
  if not first then return false end
  redis.call('EXPIRE', key, ttl) -- a write, so that WAITAOF has one to wait for
  local saved = cjson.decode(first)
  if saved.fingerprint ~= fingerprint then return { 'reused' } end
  saved.words[5] = 'replayed'
  return saved.words
end

local function answer(key, ttl, fingerprint, outcome, id, version, entry, note)
  local words = { outcome, id, version, entry, '', note or '' }
  redis.call('SET', key, cjson.encode({ fingerprint = fingerprint, words = words }), 'EX', ttl)
  return words
end
