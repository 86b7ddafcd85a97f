-- session_forget: forget some of a session: messages, values of its state, and checkpoints that hold such values.
-- KEYS  1 session  2 journal
-- ARGV  1-6 place  7 now  8 traceparent  9 number of messages that follow  10 of variables  11 of tool states
--       12 of checkpoints  13.. their numbers and names, in that order
-- Returns how many of the messages were held here, or false without a session.
-- Every entry that carries what is forgotten leaves the journal; what else came with it is journaled again.
-- Atomic because what is forgotten must not be read between its removals.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local session = session_of(key)
if not session then return false end
local at = 13
local function some(count)
  local taken = {}
  for i = at, at + tonumber(count) - 1 do taken[#taken + 1] = ARGV[i] end
  at = at + tonumber(count)
  return taken
end
local messages, variables, tools, checkpoints = some(ARGV[9]), some(ARGV[10]), some(ARGV[11]), some(ARGV[12])

local ranges, count, bytes, version = held(session), session.message_count, session.bytes, whole(session.version + 1)
local function holds(number)
  for _, one in ipairs(ranges) do
    if one[1] <= number and number < one[2] then return true end
  end
  return false
end
local left = {}
local function take_away(path)
  local entry = text_of(key, path .. '.entry')
  if not entry then return false end
  if entry ~= '""' and redis.call('XDEL', journal, string.sub(entry, 2, -2)) == 1 then left[entry] = true end
  redis.call('JSON.DEL', key, path)
  return true
end
for _, number in ipairs(messages) do
  local path = message_path(tonumber(number))
  local size = text_of(key, path .. '.bytes')
  if take_away(path) and holds(tonumber(number)) then count, bytes = count - 1, bytes - tonumber(size) end
end
if next(left) then
  -- What stays of an append that is perhaps not archived yet gets an entry of its own.
  for _, number in ipairs(redis.call('JSON.OBJKEYS', key, '$.messages')[1] or {}) do
    local path = message_path(tonumber(number))
    if left[text_of(key, path .. '.entry')] then
      local parts = place_of(ARGV)
      parts.collection = 'messages'
      local entry = journal_place(journal, 'parts', ARGV[8], parts, version,
        { 'first', number, 'body', '[' .. text_of(key, path .. '.message') .. ']' })
      redis.call('JSON.SET', key, path .. '.entry', '"' .. entry .. '"')
    end
  end
end
for _, number in ipairs(checkpoints) do take_away(checkpoint_path(tonumber(number))) end
for root, names in pairs({ variables = variables, tools = tools }) do
  for _, name in ipairs(names) do redis.call('JSON.DEL', key, '$.head.' .. root .. '["' .. name .. '"]') end
end
for collection, numbers in pairs({ messages = messages, checkpoints = checkpoints }) do
  if #numbers > 0 then
    local parts = place_of(ARGV)
    parts.collection = collection
    journal_place(journal, 'dropped', ARGV[8], parts, version, { 'numbers', table.concat(numbers, ',') })
  end
end
forget_entries(journal, session.entries) -- each is the whole state as it was; the one that follows is as it is
session.entries = ''
local forgotten = session.message_count - count
redis.call('JSON.MERGE', key, '$.head', string.format(
  '{"updated_at":%s,"message_count":%s,"bytes":%s,"state_version":%s}', ARGV[7], whole(count), whole(bytes),
  whole(session.state_version + 1)))
journal_head(key, journal, ARGV[8], place, session)
return forgotten
