-- session_leave: let messages leave a session's document: the oldest that it holds, or such as it does not hold any more.
-- KEYS  1 session  2 journal
-- ARGV  1-6 place  7 now  8 journal limit  9 traceparent  10 the lowest number that it may hold from now on ('' = as it is)
--       11.. their numbers
-- Returns 1; 0 when they are not there any more (another daemon was faster), or the journal is full.
-- Atomic because an append or a rollback in between would be counted wrongly.
local place, key, journal = place_of(ARGV), KEYS[1], KEYS[2]
local session = session_of(key)
if not session or redis.call('XLEN', journal) >= tonumber(ARGV[8]) then return 0 end
local ranges, floor = held(session), tonumber(ARGV[10] ~= '' and ARGV[10] or -1)
local function here(number)
  return text_of(key, message_path(number) .. '.bytes')
end
local function holds(number)
  for _, one in ipairs(ranges) do
    if one[1] <= number and number < one[2] then return true end
  end
  return false
end
for i = 11, #ARGV do
  local number = tonumber(ARGV[i])
  if not here(number) or holds(number) ~= (number < floor) then return 0 end
end
local below = 0
for _, one in ipairs(ranges) do
  for number = one[1], math.min(one[2], floor) - 1 do
    if here(number) then below = below + 1 end
  end
end
if floor >= 0 and below ~= #ARGV - 10 then return 0 end

local count, bytes, left = session.message_count, session.bytes, {}
for i = 11, #ARGV do
  local path = message_path(tonumber(ARGV[i]))
  if floor >= 0 then count, bytes = count - 1, bytes - tonumber(text_of(key, path .. '.bytes')) end
  left[string.sub(text_of(key, path .. '.entry'), 2, -2)] = true
  redis.call('JSON.DEL', key, path)
end
-- Entries that carry their text and are perhaps not archived yet: a forget of the session removes them from the journal.
for entry in pairs(left) do
  if entry ~= '' and #redis.call('XRANGE', journal, entry, entry) > 0 then
    redis.call('JSON.ARRAPPEND', key, '$.left', '"' .. entry .. '"')
  end
end
if floor < 0 then return 1 end
local kept, tail = {}, math.max(session.tail, math.min(floor, session.next))
for _, one in ipairs(session.segments) do
  if one[2] > floor then kept[#kept + 1] = { math.max(one[1], floor), one[2] } end
end
redis.call('JSON.SET', key, '$.head.segments', ranges_text(kept))
redis.call('JSON.MERGE', key, '$.head', string.format(
  '{"updated_at":%s,"tail":%s,"message_count":%s,"bytes":%s}', ARGV[7], whole(tail), whole(count), whole(bytes)))
journal_head(key, journal, ARGV[9], place, session)
return 1
