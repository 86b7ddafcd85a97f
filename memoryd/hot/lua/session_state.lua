-- session_state: set or remove one value of a session's variables or tool state.
-- KEYS  1 session  2 journal  3 idempotency
-- ARGV  1-6 place  7 now  8 root ($.head.variables or $.head.tools)  9 path of the value  10 value as JSON ('' = remove it)
--       11 the state's version that it is based on ('' = any)  12 most bytes of the root  13 fingerprint
--       14 idempotency ttl  15 journal limit  16 traceparent
-- Returns {'set', id, version, entry, 'replayed' or '', state version}; {'conflict', current state version}, {'absent'},
--       {'closed'}, {'no_such_place'}, {'too_large'}, {'overloaded'}, {'reused'}.
-- Atomic because the check of the state's version and the change must see the same state.
local place, key, journal, root = place_of(ARGV), KEYS[1], KEYS[2], ARGV[8]
local first = answered(KEYS[3], ARGV[13], ARGV[14])
if first then return first end
local session = session_of(key)
if not session then return { 'absent' } end
if session.status ~= 'open' then return { 'closed' } end
if ARGV[11] ~= '' and tonumber(ARGV[11]) ~= session.state_version then
  return { 'conflict', whole(session.state_version) }
end
if redis.call('XLEN', journal) >= tonumber(ARGV[15]) then return { 'overloaded' } end

local before = text_of(key, root)
local done
if ARGV[10] == '' then
  done = redis.call('JSON.DEL', key, ARGV[9]) == 1
else
  done = redis.pcall('JSON.SET', key, ARGV[9], ARGV[10])
  done = done and not done.err
end
if not done then return { 'no_such_place' } end
if #text_of(key, root) > tonumber(ARGV[12]) then
  redis.call('JSON.SET', key, root, before)
  return { 'too_large' }
end
local state = whole(session.state_version + 1)
redis.call('JSON.MERGE', key, '$.head', string.format('{"updated_at":%s,"state_version":%s}', ARGV[7], state))
local version, entry = journal_head(key, journal, ARGV[16], place, session)
return answer(KEYS[3], ARGV[14], ARGV[13], 'set', place.id, version, entry, state)
