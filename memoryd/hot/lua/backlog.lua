-- backlog: how much each group has still to do in a journal.
-- KEYS  1 journal
-- Returns group, number of entries, group, number, …: those delivered and not acknowledged, and those not delivered.
-- A script because Redis's own `lag` counts entries that a forget has deleted before they were read, for ever, or is
-- unknown after such a delete; and because XINFO STREAM would bring two whole entries along.
local answer = {}
if redis.call('EXISTS', KEYS[1]) == 0 then return answer end
local function named(flat)
  local fields = {}
  for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  return fields
end
local stream = named(redis.call('XINFO', 'STREAM', KEYS[1]))
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local group = named(flat)
  local unread = 0
  if group['last-delivered-id'] ~= stream['last-generated-id'] then
    unread = math.min(tonumber(group.lag) or stream.length, stream.length)
  end
  answer[#answer + 1] = group.name
  answer[#answer + 1] = group.pending + unread
end
return answer
