-- session_open: make a session, or open it again.
-- KEYS  1 session  2 journal  3 tombstone  4 filter of the ids seen  5 idempotency
-- ARGV  1-6 place  7 now  8 ttl of the session ('' = as it is)  9 status  10 default ttl
--       11 version that the archive holds ('' = not asked, '0' = none)  12 make it ('1'|'0')  13 fingerprint
--       14 idempotency ttl  15 journal limit  16 traceparent
-- Returns {'made' | 'changed' | 'unchanged', id, version, entry, 'replayed' or ''};
--       {'absent', '1'|'0'} (not here; whether it ever was), {'missing'}, {'overloaded'}, {'reused'}.
-- Atomic because of two that make the same session one must find the other's.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local first = answered(KEYS[5], ARGV[13], ARGV[14])
if first then return first end
local session = session_of(key)
if not session and ARGV[11] == '' then return { 'absent', tostring(redis.call('BF.EXISTS', KEYS[4], place.id)) } end
if not session and ARGV[12] ~= '1' then return { 'missing' } end
if redis.call('XLEN', journal) >= tonumber(ARGV[15]) then return { 'overloaded' } end

local outcome = 'changed'
if not session then
  local stone = redis.call('GET', KEYS[3])
  stone = stone and cjson.decode(stone) or { version = '0', next = '0' }
  local floor = math.max(tonumber(stone.version), tonumber(ARGV[11]))
  -- Numbers go on where a former life ended: an archiver that still holds one of its messages must not meet a new one.
  local next = whole(math.max(tonumber(stone.next or '0'), tonumber(ARGV[11])))
  redis.call('JSON.SET', key, '$', with_bookkeeping(place, whole(floor), '', string.format(
    '{"head":{"status":"open","created_at":%s,"updated_at":%s,"message_count":0,"bytes":0,"next":%s,"tail":%s,"segments":[],'
      .. '"state_version":0,"ttl_seconds":%s,"variables":{},"tools":{},"recalled":[],"next_checkpoint":1,'
      .. '"first_checkpoint":1},"messages":{},"checkpoints":{},"left":[]}',
    ARGV[7], ARGV[7], next, next, ARGV[8] ~= '' and ARGV[8] or ARGV[10])))
  seen(KEYS[4], place.id)
  session, outcome = session_of(key), 'made'
elseif session.status == ARGV[9] and (ARGV[8] == '' or tonumber(ARGV[8]) == session.ttl_seconds) then
  redis.call('EXPIRE', key, whole(session.ttl_seconds))
  return { 'unchanged', place.id, whole(session.version), '', '', '' }
else
  session.ttl_seconds = ARGV[8] ~= '' and tonumber(ARGV[8]) or session.ttl_seconds
  redis.call('JSON.MERGE', key, '$.head', string.format('{"status":"%s","updated_at":%s,"ttl_seconds":%s}', ARGV[9], ARGV[7],
    whole(session.ttl_seconds)))
end
local version, entry = journal_head(key, journal, ARGV[16], place, session)
return answer(KEYS[5], ARGV[14], ARGV[13], outcome, place.id, version, entry)
