-- session_rollback: bring a session back to a checkpoint, after capturing what is replaced.
-- KEYS  1 session  2 journal  3 idempotency
-- ARGV  1-6 place  7 now  8 number of the checkpoint  9 label of the new one as a JSON string  10 checkpoints to keep
--       11 fingerprint  12 idempotency ttl  13 journal limit  14 traceparent
--       15.. number and JSON text of messages that are needed and were not here any more
-- Returns {'rolled_back', id, version, entry, 'replayed' or '', 'number of the new checkpoint:messages held'};
--       {'absent'}, {'no_such_checkpoint'}, {'overloaded'}, {'reused'}.
-- Atomic because the capture and the replacement must be of one moment, or the undoing would not be exact.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local first = answered(KEYS[3], ARGV[11], ARGV[12])
if first then return first end
local session = session_of(key)
if not session then return { 'absent' } end
local path = checkpoint_path(tonumber(ARGV[8])) .. '.checkpoint'
local wanted = text_of(key, path .. '.segments')
if not wanted then return { 'no_such_checkpoint' } end
if redis.call('XLEN', journal) >= tonumber(ARGV[13]) then return { 'overloaded' } end

local state = {}
for _, name in ipairs({ 'variables', 'tools', 'recalled' }) do state[name] = text_of(key, path .. '.' .. name) end
for i = 15, #ARGV, 2 do
  redis.call('JSON.SET', key, message_path(tonumber(ARGV[i])),
    string.format('{"entry":"","bytes":%d,"message":', #ARGV[i + 1]) .. ARGV[i + 1] .. '}', 'NX')
end
-- What was forgotten since the checkpoint is not there any more: counted is what there is.
local count, bytes = 0, 0
for _, one in ipairs(cjson.decode(wanted)) do
  for number = one[1], one[2] - 1 do
    local size = text_of(key, message_path(number) .. '.bytes')
    if size then count, bytes = count + 1, bytes + tonumber(size) end
  end
end
local undo = session.next_checkpoint
local version = whole(session.version + 1)
add_checkpoint(key, journal, ARGV[14], place, session, version, captured(key, session, ARGV[9], ARGV[7]), tonumber(ARGV[10]))
for name, value in pairs(state) do redis.call('JSON.SET', key, '$.head.' .. name, value) end
redis.call('JSON.SET', key, '$.head.segments', wanted)
redis.call('JSON.MERGE', key, '$.head', string.format(
  '{"updated_at":%s,"tail":%s,"message_count":%d,"bytes":%d,"state_version":%s}',
  ARGV[7], whole(session.next), count, bytes, whole(session.state_version + 1)))
local _, entry = journal_head(key, journal, ARGV[14], place, session)
return answer(KEYS[3], ARGV[12], ARGV[11], 'rolled_back', place.id, version, entry, whole(undo) .. ':' .. count)
